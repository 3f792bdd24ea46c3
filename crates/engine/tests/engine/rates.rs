//! Rates are looked at as long as somebody watches, and not a moment longer.

use std::time::Duration;

use netloom_engine::testing::{Sketch, Trouble};
use netloom_engine::{Place, Rates, Refusal, Sampled};
use tokio::sync::watch;

use crate::bench::{Bench, lab_name, pair, pass, until};

const SECOND: Duration = Duration::from_secs(1);

async fn next(rates: &mut watch::Receiver<Sampled>) -> Vec<Rates> {
    tokio::time::timeout(Duration::from_secs(60), rates.changed()).await.expect("it comes").expect("it goes on");
    rates.borrow_and_update().as_deref().cloned().expect("there is one")
}

fn r1() -> Place {
    Place::Node(lab_name("lab"), "r1".parse().unwrap())
}

#[tokio::test(start_paused = true)]
async fn what_flows_between_two_looks_is_the_rate() {
    let bench = Bench::new().await;
    bench.made(&pair()).await;
    let (mut rates, _place) = bench.engine.rates(Some(lab_name("lab")), 2 * SECOND).unwrap();
    let first = next(&mut rates).await.remove(0);
    assert_eq!((first.seconds, first.links[0].ends[0].tx.unwrap().bits_per_second), (None, None));
    assert_eq!(first.nodes[0].cpu_percent, None);
    bench.world.send(&r1(), "eth1", 1000);
    let second = next(&mut rates).await.remove(0);
    let [a, b] = &second.links[0].ends[..] else { panic!("{second:?}") };
    assert_eq!((a.end.as_str(), b.end.as_str()), ("r1:eth1", "r2:eth1"));
    for flow in [a.tx, b.rx] {
        let flow = flow.unwrap();
        assert_eq!((flow.bits_per_second, flow.packets_per_second, flow.bytes), (Some(4000.0), Some(0.5), 1000));
    }
    assert_eq!(a.rx.unwrap().bits_per_second, Some(0.0));
    assert_eq!((second.seconds, second.nodes[0].cpu_percent), (Some(2.0), Some(0.0)));
    assert_eq!((second.nodes[0].memory_bytes, second.trouble), (Some(4096), None));
}

#[tokio::test(start_paused = true)]
async fn nobody_looks_while_nobody_watches_and_watchers_share() {
    let bench = Bench::new().await;
    bench.made(&pair()).await;
    pass(600).await;
    assert_eq!(bench.engine.samplers(), (0, 0));
    let watch = || bench.engine.rates(Some(lab_name("lab")), SECOND).unwrap();
    let (mut one, two) = (watch(), watch());
    next(&mut one.0).await;
    // Between two looks.
    tokio::time::sleep(Duration::from_millis(10_500)).await;
    assert_eq!(bench.engine.samplers(), (1, 11));
    drop(one);
    pass(1).await;
    assert_eq!(bench.engine.samplers(), (1, 12));
    drop(two);
    until("the sampler has ended", || bench.engine.samplers().0 == 0).await;
    let (_, looks) = bench.engine.samplers();
    pass(600).await;
    assert_eq!(bench.engine.samplers(), (0, looks));
    // And again.
    let (mut again, _place) = watch();
    next(&mut again).await;
    assert_eq!(bench.engine.samplers(), (1, looks + 1));
}

#[tokio::test(start_paused = true)]
async fn all_labs_are_watched_as_they_come_and_go() {
    let bench = Bench::new().await;
    bench.made(&pair()).await;
    let (mut all, _place) = bench.engine.rates(None, SECOND).unwrap();
    let names = |rates: &[Rates]| rates.iter().map(|rates| rates.lab.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&next(&mut all).await), ["lab"]);
    let other = Sketch::new("other").node("r1").lab();
    bench.made(&other).await;
    while names(&next(&mut all).await) != ["lab", "other"] {}
    bench.destroy("lab").await;
    while names(&next(&mut all).await) != ["other"] {}
}

#[tokio::test(start_paused = true)]
async fn labs_that_do_not_answer_are_waited_for_at_once_and_not_after_the_last_watcher() {
    let bench = Bench::new().await;
    for lab in ["a", "b", "c"] {
        bench.made(&Sketch::pair(lab).lab()).await;
    }
    let (mut all, place) = bench.engine.rates(None, SECOND).unwrap();
    next(&mut all).await;
    bench.world.trouble("counters *", .., Trouble::Slow(2 * SECOND));
    let begun = tokio::time::Instant::now();
    let slow = next(&mut all).await;
    assert!(slow.len() == 3 && slow.iter().all(|rates| rates.trouble.is_none()));
    assert_eq!(begun.elapsed().as_secs(), 3, "a period and one look");
    bench.world.trouble("counters *", .., Trouble::Hangs);
    let begun = tokio::time::Instant::now();
    let hung = next(&mut all).await;
    assert!(hung.len() == 3 && hung.iter().all(|rates| rates.trouble.is_some()));
    assert_eq!(begun.elapsed().as_secs(), 6, "a period and one deadline");
    // In the middle of the next look.
    tokio::time::sleep(2 * SECOND).await;
    drop((all, place));
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(bench.engine.samplers().0, 0);
}

#[tokio::test(start_paused = true)]
async fn a_lab_that_is_gone_ends_its_rates_and_trouble_is_said() {
    let bench = Bench::new().await;
    let none = bench.engine.rates(Some(lab_name("lab")), SECOND);
    assert!(matches!(none, Err(Refusal::NoLab(_))));
    bench.made(&pair()).await;
    let (mut rates, _place) = bench.engine.rates(Some(lab_name("lab")), SECOND).unwrap();
    next(&mut rates).await;
    bench.world.trouble("counters lab", .., Trouble::Transient("no answer".into()));
    let troubled = next(&mut rates).await.remove(0);
    assert!(troubled.trouble.is_some_and(|why| why.contains("no answer")));
    assert!(troubled.links[0].ends[0].rx.is_none() && troubled.nodes[0].memory_bytes.is_some());
    bench.world.calm();
    bench.world.trouble("usage lab", .., Trouble::Hangs);
    let hung = next(&mut rates).await.remove(0);
    assert!(hung.trouble.is_some_and(|why| why.contains("deadline")));
    bench.world.calm();
    // The counters were read 5 s before the usage was given up; the next look is a period after that.
    bench.world.send(&r1(), "eth1", 6000);
    let after = next(&mut rates).await.remove(0);
    let flow = after.links[0].ends[0].tx.unwrap();
    assert_eq!((after.seconds, flow.bits_per_second), (Some(6.0), Some(8000.0)));
    bench.destroy("lab").await;
    while rates.changed().await.is_ok() {}
    assert_eq!(bench.engine.samplers().0, 0);
}

#[tokio::test(start_paused = true)]
async fn who_asks_once_what_was_carried_has_it_read_once_a_second_and_never_waits_long() {
    const MOMENT: Duration = Duration::from_millis(250);
    let bench = Bench::new().await;
    let lab = lab_name("lab");
    assert!(bench.engine.carried(&lab, MOMENT).await.is_none(), "nobody knows it");
    assert_eq!(bench.engine.samplers(), (0, 0));
    bench.made(&pair()).await;
    let sent = async || {
        let carried = bench.engine.carried(&lab, MOMENT).await?;
        let snapshot = bench.engine.inventory().snapshot();
        let mut ports = snapshot.labs[&lab].ports.values();
        let port = ports.find(|port| port.place == r1() && port.name.as_str() == "eth1")?;
        carried.by(port).map(|(_, out)| out.bytes)
    };
    bench.world.send(&r1(), "eth1", 1000);
    let both = tokio::join!(sent(), sent());
    assert_eq!((both, bench.engine.samplers()), ((Some(1000), Some(1000)), (0, 1)), "they share it");
    bench.world.send(&r1(), "eth1", 500);
    assert_eq!((sent().await, bench.engine.samplers().1), (Some(1000), 1), "it is young");
    pass(2).await;
    assert_eq!((sent().await, bench.engine.samplers().1), (Some(1500), 2));

    // The kernel takes longer than anybody waits: it is asked once, and what it says is there for the next question.
    bench.world.send(&r1(), "eth1", 500);
    bench.world.trouble("counters *", .., Trouble::Slow(3 * SECOND));
    pass(2).await;
    let begun = tokio::time::Instant::now();
    assert_eq!(tokio::join!(sent(), sent()), (Some(1500), Some(1500)));
    assert_eq!((sent().await, begun.elapsed()), (Some(1500), 2 * MOMENT));
    pass(3).await;
    assert_eq!((sent().await, bench.engine.samplers().1), (Some(2000), 3));
    // It does not answer at all, and then it does again.
    bench.world.calm();
    bench.world.trouble("counters *", .., Trouble::Hangs);
    pass(2).await;
    assert_eq!(sent().await, Some(2000));
    bench.world.calm();
    bench.world.send(&r1(), "eth1", 500);
    pass(6).await;
    assert_eq!(sent().await, Some(2500));

    // Who watches reads for it too.
    let (mut rates, _place) = bench.engine.rates(Some(lab_name("lab")), SECOND).unwrap();
    next(&mut rates).await;
    let looks = bench.engine.samplers().1;
    assert_eq!((sent().await, bench.engine.samplers().1), (Some(2500), looks));
    bench.destroy("lab").await;
    assert_eq!(sent().await, None);
}
