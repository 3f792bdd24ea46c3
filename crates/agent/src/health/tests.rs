use super::*;

fn state(listed: Option<u64>, error: Option<&str>, since: u64) -> SourceState {
    let ago = |seconds| SystemTime::now() - Duration::from_secs(seconds);
    SourceState { listed: listed.map(ago), error: error.map(str::to_owned), since: ago(since), mended: 0 }
}

#[test]
fn a_source_is_down_until_it_was_listed_and_again_when_it_fails_for_a_while() {
    let health = Health::new(Duration::from_secs(10));
    let status = |state: Option<SourceState>| {
        let capability = health.source("kernel".into(), state.as_ref(), SystemTime::now());
        assert_eq!(capability.status == Ready::Ok, capability.reason.is_none());
        capability.status
    };
    assert_eq!(status(None), Ready::Down);
    assert_eq!(status(Some(state(None, Some("no answer"), 0))), Ready::Down);
    assert_eq!(status(Some(state(Some(1), None, 100))), Ready::Ok);
    assert_eq!(status(Some(state(Some(20), Some("no answer"), 5))), Ready::Degraded);
    assert_eq!(status(Some(state(Some(60), Some("no answer"), 50))), Ready::Down);
    assert_eq!(status(Some(state(Some(600), None, 1000))), Ready::Degraded);
}

#[test]
fn an_agent_without_an_engine_is_live_and_not_ready() {
    let health = Health::new(Duration::from_secs(10));
    assert_eq!(health.answer(Probe::Live, ""), (200, br#"{"status":"ok"}"#.to_vec()));
    let (status, body) = health.answer(Probe::Ready, "");
    assert_eq!(status, 503);
    assert!(String::from_utf8(body).unwrap().contains("the agent is starting"));
}

#[test]
fn a_ping_that_the_main_runtime_does_not_serve_makes_it_late() {
    let health = Health::new(Duration::ZERO);
    assert!(health.live().late.is_empty());
    health.pulse.ping();
    while health.pulse.overdue().is_zero() {
        std::hint::spin_loop();
    }
    let live = health.live();
    assert_eq!((live.status.as_str(), live.late[0].name.as_str()), ("late", "main runtime"));
}
