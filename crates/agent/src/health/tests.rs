use super::*;

fn state(listed: Option<u64>, error: Option<&str>, since: u64) -> SourceState {
    let ago = |seconds| SystemTime::now() - Duration::from_secs(seconds);
    SourceState { listed: listed.map(ago), error: error.map(str::to_owned), strain: None, since: ago(since), mended: 0 }
}

#[test]
fn a_source_looks_good_when_it_was_seen_whole_lately_and_answers() {
    let look = |state: Option<SourceState>| look_at(state.as_ref(), SystemTime::now());
    let bad = |reason: &str| Look::Bad(reason.to_owned());
    assert_eq!(look(None), bad("it has not been looked at yet"));
    assert_eq!(look(Some(state(None, Some("no answer"), 0))), bad("no answer"));
    assert_eq!(look(Some(state(Some(1), None, 100))), Look::Good);
    assert_eq!(look(Some(state(Some(20), Some("no answer"), 5))), bad("no answer"));
    assert_eq!(look(Some(state(Some(600), None, 1000))), bad("it was last seen whole 600 s ago"));
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
fn what_the_supervisor_finds_late_is_answered() {
    let health = Health::new(Duration::from_secs(10));
    let late = vec![Late { name: "main runtime".into(), seconds: 12.0 }];
    health.publish(Verdict { late, capabilities: Vec::new(), has_engine: false });
    let (status, body) = health.answer(Probe::Live, "");
    assert_eq!((status, body), (503, br#"{"status":"late","late":[{"loop":"main runtime","seconds":12.0}]}"#.to_vec()));
    health.publish(Verdict::default());
    assert_eq!(health.answer(Probe::Live, "").0, 200);
}

#[test]
fn a_supervisor_that_takes_no_turns_is_late_itself() {
    let health = Health::new(Duration::from_secs(10));
    health.publish(Verdict::default());
    for _ in 0..3 {
        assert!(health.live().late.is_empty());
        health.watch_supervisor();
    }
    health.watch_supervisor();
    assert_eq!(health.live().late[0].name, "supervisor");
    health.publish(Verdict::default());
    health.watch_supervisor();
    assert!(health.live().late.is_empty());
}
