use serde_json::json;

use super::*;
use crate::error::Error;
use crate::value::{Map, Set};

fn sample() -> Transaction {
    let mut sample = Transaction::new();
    let interface = sample.insert("Interface", Row::new().with("name", "p1"));
    let port = sample.insert("Port", Row::new().with("interfaces", interface));
    sample.mutate("Bridge", [Condition::equals("name", "br0")], [Mutation::insert("ports", port)]);
    sample.select("Port", [Condition::greater("tag", 10)]);
    sample
}

#[test]
fn a_transaction_is_written_as_the_protocol_has_it() {
    let mut all = sample();
    all.update("Port", [Condition::includes("trunks", Set::from([1, 2]))], Row::new().with("tag", 1));
    all.delete("Port", []);
    all.expect("Bridge", [], Row::new().with("name", "br0"));
    let timeout = Some(Duration::from_millis(1500));
    let (columns, rows) = (vec!["a".into()], vec![Row::new()]);
    all.push(Op::Wait { timeout, table: "T".into(), r#where: vec![], columns, until: Until::Different, rows });
    all.push(Op::Wait {
        timeout: None,
        table: "T".into(),
        r#where: vec![],
        columns: vec![],
        until: Until::Equal,
        rows: vec![],
    });
    all.push(Op::Commit { durable: true });
    all.push(Op::Abort);
    all.comment("why");
    all.assert("l");
    all.push(Op::Select { table: "T".into(), r#where: vec![], columns: Some(vec!["a".into()]) });
    let mutations = Mutation::set_keys("external_ids", Map::from([("k", "v")]));
    all.mutate("T", [], mutations);
    let written = json!([
        {"op": "insert", "table": "Interface", "row": {"name": "p1"}, "uuid-name": "row0"},
        {"op": "insert", "table": "Port", "row": {"interfaces": ["named-uuid", "row0"]}, "uuid-name": "row1"},
        {"op": "mutate", "table": "Bridge", "where": [["name", "==", "br0"]],
         "mutations": [["ports", "insert", ["named-uuid", "row1"]]]},
        {"op": "select", "table": "Port", "where": [["tag", ">", 10]]},
        {"op": "update", "table": "Port", "where": [["trunks", "includes", ["set", [1, 2]]]], "row": {"tag": 1}},
        {"op": "delete", "table": "Port", "where": []},
        {"op": "wait", "timeout": 0, "table": "Bridge", "where": [], "columns": ["name"], "until": "==",
         "rows": [{"name": "br0"}]},
        {"op": "wait", "timeout": 1500, "table": "T", "where": [], "columns": ["a"], "until": "!=", "rows": [{}]},
        {"op": "wait", "table": "T", "where": [], "columns": [], "until": "==", "rows": []},
        {"op": "commit", "durable": true},
        {"op": "abort"},
        {"op": "comment", "comment": "why"},
        {"op": "assert", "lock": "l"},
        {"op": "select", "table": "T", "where": [], "columns": ["a"]},
        {"op": "mutate", "table": "T", "where": [],
         "mutations": [["external_ids", "delete", "k"], ["external_ids", "insert", ["map", [["k", "v"]]]]]},
    ]);
    assert_eq!(serde_json::to_value(all.ops()).unwrap(), written);
}

#[test]
fn an_answer_is_read_by_what_was_asked() {
    let answer = json!([
        {"uuid": ["uuid", "550e8400-e29b-41d4-a716-446655440000"]},
        {"uuid": ["uuid", "650e8400-e29b-41d4-a716-446655440000"]},
        {"count": 1},
        {"rows": [{"name": "p1"}]},
    ]);
    let outcome = Outcome::read(&sample(), answer).unwrap();
    let name = |text: &str| text.parse().unwrap();
    assert_eq!(outcome.inserted(&name("row1")).unwrap().to_string(), "650e8400-e29b-41d4-a716-446655440000");
    assert_eq!(outcome.inserted(&name("row2")), None);
    assert_eq!((outcome.count(2), outcome.count(3), outcome.count(9)), (Some(1), None, None));
    assert_eq!(outcome.rows(3).unwrap()[0].string("name"), Some("p1"));
}

fn refusal(answer: serde_json::Value) -> Refusal {
    match Outcome::read(&sample(), answer) {
        Err(Error::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_operation_that_was_refused_is_named() {
    let uuid = json!({"uuid": ["uuid", "550e8400-e29b-41d4-a716-446655440000"]});
    let refused = refusal(json!([uuid, {"error": "constraint violation", "details": "no"}, null, null]));
    assert_eq!(refused.kind, RefusalKind::ConstraintViolation);
    assert_eq!(refused.to_string(), "operation 1 (insert Port): constraint violation: no");
}

#[test]
fn what_cannot_be_committed_is_no_fault_of_an_operation() {
    let uuid = json!({"uuid": ["uuid", "550e8400-e29b-41d4-a716-446655440000"]});
    let error = json!({"error": "referential integrity violation"});
    let refused = refusal(json!([uuid, uuid, {"count": 1}, {"rows": []}, error]));
    assert_eq!((refused.place.clone(), refused.kind), (Place::Commit, RefusalKind::ReferentialIntegrity));
    assert_eq!(refused.to_string(), "what all operations come to: referential integrity violation");
}

#[test]
fn an_answer_that_is_none_is_said() {
    for answer in [
        json!({}),
        json!([]),
        json!([{}, {}, {}, {}]),
        json!([null, null, null, null]),
        json!([{"uuid": ["uuid", "x"]}]),
        json!([{"uuid": 1}]),
    ] {
        let read = Outcome::read(&sample(), answer.clone());
        assert!(matches!(read, Err(Error::Protocol(_))), "{answer}: {read:?}");
    }
}
