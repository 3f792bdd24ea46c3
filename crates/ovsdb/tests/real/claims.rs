use std::collections::BTreeSet;

use netloom_ovs_fixture::Ovs;
use netloom_ovsdb::{Client, Condition, Map, Mutation, RefusalKind, Row, Transaction};

use crate::{connected, make_bridge, soon};

/// Claims the lowest tag that is free, in the name of an owner: what was read must be what there is, else it is tried
/// again.
async fn claim(client: &Client, owner: &str) -> i64 {
    loop {
        let snapshot = client.mirror().snapshot();
        let (bridge, row) = snapshot.find("Bridge", "name", "br0").unwrap();
        let claimed = row.map("other_config").unwrap();
        let tag = (1..4095).find(|tag| claimed.get_str(&format!("tag-{tag}")).is_none()).unwrap();
        let mut change = Transaction::new();
        let here = [Condition::is_row(bridge)];
        change.expect("Bridge", here.clone(), Row::new().with("other_config", claimed.clone()));
        let pair = Map::from([(format!("tag-{tag}"), owner)]);
        change.mutate("Bridge", here, [Mutation::insert("other_config", pair)]);
        match client.transact(&change, soon()).await {
            Ok(_) => return tag,
            Err(error) => {
                assert_eq!(error.refusal().map(|refusal| refusal.kind), Some(RefusalKind::TimedOut), "{error}");
            }
        }
    }
}

/// A snapshot of `other_config` that is old may lack what another client claimed in between; the mirror catches up by
/// itself, since each refused transaction comes after the update that made it wrong.
#[tokio::test]
async fn clients_of_one_database_never_share_a_tag() {
    let Some(ovs) = Ovs::start() else { return };
    let first = connected(&ovs).await;
    let mut change = Transaction::new();
    make_bridge(&mut change, "br0", &[]);
    first.transact(&change, soon()).await.unwrap();
    let second = connected(&ovs).await;
    let claims = |client: Client, owner: &'static str| async move {
        let mut tags = Vec::new();
        for _ in 0..50 {
            tags.push(claim(&client, owner).await);
        }
        tags
    };
    let (own, others) = tokio::join!(claims(first.clone(), "first"), claims(second, "second"));
    let all: BTreeSet<i64> = own.iter().chain(&others).copied().collect();
    assert_eq!(all.len(), 100, "{own:?} {others:?}");
    assert_eq!(all.last(), Some(&100), "none was left out");
}
