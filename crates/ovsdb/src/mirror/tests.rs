use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::schema::Schema;
use crate::value::{Datum, Map, Row, Set, Uuid};

/// A table with a column of each way in which changes are told.
fn replica() -> Replica {
    let schema: Schema = json!({"name": "D", "tables": {"T": {"columns": {
        "name": {"type": "string"},
        "tag": {"type": {"key": "integer", "min": 0, "max": 1}},
        "ports": {"type": {"key": "integer", "min": 0, "max": "unlimited"}},
        "ids": {"type": {"key": "string", "value": "string", "min": 0, "max": "unlimited"}},
    }}}})
    .try_into()
    .unwrap();
    let columns = ["name", "tag", "ports", "ids"].map(str::to_owned).to_vec();
    Replica::new(schema.types(&BTreeMap::from([("T".to_owned(), columns)])).unwrap())
}

fn uuid(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn updates(rows: impl IntoIterator<Item = (u128, Value)>) -> Updates {
    let rows: serde_json::Map<String, Value> =
        rows.into_iter().map(|(number, update)| (uuid(number).to_string(), update)).collect();
    json!({"T": rows}).try_into().unwrap()
}

fn row(replica: &Replica, number: u128) -> &Row {
    &replica.tables()["T"][&uuid(number)]
}

#[test]
fn changes_are_told_by_value_or_by_difference_as_the_type_of_the_column_is() {
    let mut replica = replica();
    let first =
        json!({"insert": {"name": "a", "tag": 5, "ports": ["set", [1, 2]], "ids": ["map", [["k", "v"], ["l", "w"]]]}});
    let changes = replica.apply(updates([(1, first)])).unwrap();
    assert!(changes.len() == 1 && changes[0].before.is_none() && changes[0].touches("tag"));

    let second =
        json!({"modify": {"tag": 6, "ports": ["set", [2, 3]], "ids": ["map", [["k", "v"], ["l", "x"], ["m", "y"]]]}});
    let changes = replica.apply(updates([(1, second)])).unwrap();
    assert!(changes[0].touches("tag") && !changes[0].touches("name"));
    let expected = Row::new()
        .with("name", "a")
        .with("tag", 6)
        .with("ports", Set::from([1, 3]))
        .with("ids", Map::from([("l", "x"), ("m", "y")]));
    assert_eq!(*row(&replica, 1), expected);

    // An optional value that goes is told as what there is then.
    replica.apply(updates([(1, json!({"modify": {"tag": ["set", []]}}))])).unwrap();
    assert_eq!(row(&replica, 1).integer("tag"), None);

    let changes = replica.apply(updates([(1, json!({"delete": null}))])).unwrap();
    assert!(changes[0].after.is_none() && changes[0].touches("name"));
    assert!(replica.tables()["T"].is_empty());
}

#[test]
fn columns_that_are_left_out_have_their_default() {
    let mut replica = replica();
    replica.apply(updates([(1, json!({"initial": {}}))])).unwrap();
    let row = row(&replica, 1);
    assert_eq!((row.len(), row.string("name"), row.set("tag").map(Set::len)), (4, Some(""), Some(0)));
}

#[test]
fn an_update_that_does_not_fit_changes_nothing() {
    let mut replica = replica();
    replica.apply(updates([(1, json!({"insert": {"name": "a"}}))])).unwrap();
    let before = replica.tables().clone();
    for (wrong, said) in [
        (json!({"modify": {"name": "x"}}), "a row changes that is not there"),
        (json!({"delete": null}), "a row goes that is not there"),
        (json!({"insert": {"x": 1}}), "it has a column that was not asked for"),
        (json!({"insert": {"name": 1}}), "a column has a value of another type"),
        (json!({"insert": {"ports": ["map", []]}}), "a column has a value of another type"),
    ] {
        // The good change stands before it.
        let lost = replica.apply(updates([(1, json!({"modify": {"name": "b"}})), (2, wrong)])).unwrap_err();
        assert_eq!(lost.to_string(), format!("T {}: {said}", uuid(2)));
        assert_eq!(*replica.tables(), before);
    }
    let lost = replica.apply(updates([(1, json!({"insert": {}}))])).unwrap_err();
    assert!(lost.to_string().ends_with("a row comes that is there"), "{lost}");
    let lost = replica.apply(json!({"U": {uuid(1).to_string(): {"delete": null}}}).try_into().unwrap()).unwrap_err();
    assert_eq!(lost.to_string(), "U: the table was not asked for");
}

#[test]
fn what_are_no_updates_is_said() {
    for wrong in [
        json!(null),
        json!({"T": 1}),
        json!({"T": {"x": {"delete": null}}}),
        json!({"T": {uuid(1).to_string(): {}}}),
        json!({"T": {uuid(1).to_string(): {"insert": {}, "delete": null}}}),
        json!({"T": {uuid(1).to_string(): {"old": {}}}}),
    ] {
        assert!(Updates::try_from(wrong).is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiter_is_woken_by_its_columns_and_no_others() {
    let (mut writer, mirror) = Writer::new(4);
    writer.replace(replica());
    writer.apply(updates([(1, json!({"insert": {"name": "a"}})), (2, json!({"insert": {"name": "b"}}))])).unwrap();
    let soon = || Instant::now() + std::time::Duration::from_secs(1);
    let name = mirror.watch([Interest::row("T", uuid(1)).columns(["name"])]);
    let table = mirror.watch([Interest::table("T")]);
    let both = mirror.watch([Interest::row("T", uuid(2)), Interest::row("T", uuid(3))]);

    writer.apply(updates([(1, json!({"modify": {"tag": 1}}))])).unwrap();
    assert!(matches!(name.changed(soon()).await, Err(Error::Deadline)));
    assert!(matches!(both.changed(soon()).await, Err(Error::Deadline)));
    table.changed(soon()).await.unwrap();

    writer.apply(updates([(1, json!({"modify": {"name": "c"}}))])).unwrap();
    let snapshot = name.changed(soon()).await.unwrap();
    assert_eq!(snapshot.row("T", uuid(1)).unwrap().string("name"), Some("c"));
    // Two changes that nobody waited for are one.
    writer.apply(updates([(3, json!({"insert": {}}))])).unwrap();
    writer.apply(updates([(2, json!({"delete": null}))])).unwrap();
    assert_eq!(both.changed(soon()).await.unwrap().rows("T").count(), 2);
    assert!(matches!(both.changed(soon()).await, Err(Error::Deadline)));

    drop((name, table, both));
    assert_eq!(mirror.registry.len(), 0, "left behind");
}

#[test]
fn an_update_that_changes_nothing_makes_no_snapshot() {
    let (mut writer, mirror) = Writer::new(4);
    // But the first, which says that there is nothing.
    writer.replace(replica());
    assert_eq!(mirror.snapshot().version(), 1);
    writer.apply(updates([(1, json!({"insert": {"tag": 1}}))])).unwrap();
    assert_eq!(mirror.snapshot().version(), 2);
    writer.apply(updates([(1, json!({"modify": {"tag": 1}}))])).unwrap();
    writer.apply(updates([])).unwrap();
    assert_eq!(mirror.snapshot().version(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_condition_is_tried_once_and_after_each_change_of_interest() {
    let (mut writer, mirror) = Writer::new(4);
    writer.replace(replica());
    writer.apply(updates([(1, json!({"insert": {}}))])).unwrap();
    let mut tries = 0;
    let waiting = mirror.wait_until(
        [Interest::table("T").columns(["tag"])],
        Instant::now() + std::time::Duration::from_secs(1),
        |snapshot| {
            tries += 1;
            snapshot.row("T", uuid(1))?.integer("tag").filter(|tag| *tag >= 2)
        },
    );
    let writing = async {
        for update in [json!({"name": "x"}), json!({"tag": 1}), json!({"name": "y"}), json!({"tag": 2})] {
            tokio::task::yield_now().await;
            writer.apply(updates([(1, json!({"modify": update}))])).unwrap();
        }
        writer
    };
    let (found, writer) = tokio::join!(waiting, writing);
    assert_eq!(found.unwrap(), 2);
    assert_eq!(tries, 3);
    assert_eq!(mirror.registry.len(), 0);
    drop(writer);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_is_told_when_the_client_is_gone() {
    let (mut writer, mirror) = Writer::new(4);
    writer.replace(replica());
    let far = Instant::now() + std::time::Duration::from_secs(3600);
    let mut subscription = mirror.subscribe();
    let waiting = mirror.wait_until([Interest::table("T")], far, |_| None::<()>);
    let (waited, next, ()) = tokio::join!(waiting, subscription.next(), async { drop(writer) });
    assert!(matches!(waited, Err(Error::Dropped)));
    assert_eq!(next, None);
    assert!(matches!(mirror.watch([Interest::table("T")]).changed(far).await, Err(Error::Dropped)));
    assert_eq!(mirror.subscribe().next().await, None);
}

#[tokio::test]
async fn a_subscription_that_lags_is_told_so() {
    let (mut writer, mirror) = Writer::new(2);
    writer.replace(replica());
    let mut subscription = mirror.subscribe();
    for number in 1..=5 {
        writer.apply(updates([(number, json!({"insert": {}}))])).unwrap();
    }
    let lagged = subscription.next().await;
    assert!(matches!(lagged, Some(Next::Lagged(3))), "{lagged:?}");
    let Some(Next::Changes(changes)) = subscription.next().await else { panic!("no changes") };
    assert_eq!((changes.version, changes.rows[0].uuid), (5, uuid(4)));
}

/// A row as the server has it.
fn any_row() -> impl Strategy<Value = Row> {
    let tag = prop::option::of(0_i64..4);
    let ports = prop::collection::btree_set(0_i64..6, 0..4);
    let ids = prop::collection::btree_map("[a-c]", "[x-z]", 0..3);
    ("[ab]?", tag, ports, ids).prop_map(|(name, tag, ports, ids)| {
        Row::new()
            .with("name", name)
            .with("tag", tag)
            .with("ports", Set::from_iter(ports))
            .with("ids", Map::from_iter(ids))
    })
}

fn any_table() -> impl Strategy<Value = BTreeMap<u128, Row>> {
    prop::collection::btree_map(0_u128..6, any_row(), 0..5)
}

/// What the server tells of the way from one state to the next.
fn told(from: &BTreeMap<u128, Row>, to: &BTreeMap<u128, Row>) -> Updates {
    let gone = from.keys().filter(|number| !to.contains_key(number)).map(|number| (*number, json!({"delete": null})));
    let changed = to.iter().filter_map(|(number, row)| match from.get(number) {
        None => Some((*number, json!({"insert": without_defaults(row)}))),
        Some(old) if old == row => None,
        Some(old) => Some((*number, json!({"modify": difference(old, row)}))),
    });
    updates(gone.chain(changed))
}

fn without_defaults(row: &Row) -> Row {
    let empty = Row::new().with("name", "").with("tag", None::<i64>).with("ports", Set::new()).with("ids", Map::new());
    row.clone().into_iter().filter(|(column, value)| empty.get(column) != Some(value)).collect()
}

fn difference(old: &Row, new: &Row) -> Row {
    let changed = new.iter().filter(|(column, value)| old.get(column) != Some(*value));
    changed
        .map(|(column, value)| {
            let value: Datum = match (old.get(column), value, &**column) {
                (Some(Datum::Set(old)), Datum::Set(new), "ports") => old.symmetric_difference(new).into(),
                (Some(Datum::Map(old)), Datum::Map(new), _) => old.difference(new).into(),
                (_, value, _) => value.clone(),
            };
            (column.clone(), value)
        })
        .collect()
}

proptest! {
    #[test]
    fn a_replica_that_followed_is_one_that_was_told_all_at_once(states in prop::collection::vec(any_table(), 1..6)) {
        let mut followed = replica();
        let mut before = BTreeMap::new();
        for state in &states {
            followed.apply(told(&before, state)).unwrap();
            before = state.clone();
        }
        let mut whole = replica();
        whole.apply(told(&BTreeMap::new(), &before)).unwrap();
        prop_assert_eq!(followed.tables(), whole.tables());
        for (number, row) in &before {
            prop_assert_eq!(&*followed.tables()["T"][&uuid(*number)], row);
        }
    }

    #[test]
    fn what_a_reset_changes_leads_from_what_was_to_what_is(old in any_table(), new in any_table()) {
        let mut replica = replica();
        replica.apply(told(&BTreeMap::new(), &old)).unwrap();
        let before = replica.tables().clone();
        let changes = replica.reset(told(&BTreeMap::new(), &new)).unwrap();
        let mut rows = before["T"].clone();
        for change in changes {
            prop_assert_eq!(rows.get(&change.uuid), change.before.as_ref());
            prop_assert_ne!(&change.before, &change.after);
            match change.after {
                Some(row) => drop(rows.insert(change.uuid, row)),
                None => drop(rows.remove(&change.uuid)),
            }
        }
        prop_assert_eq!(&rows, &replica.tables()["T"]);
        for (number, row) in &new {
            prop_assert_eq!(&*rows[&uuid(*number)], row);
        }
        prop_assert_eq!(rows.len(), new.len());
        prop_assert_eq!(replica.reset(told(&BTreeMap::new(), &new)).unwrap(), []);
    }
}
