use proptest::prelude::*;
use serde_json::json;

use super::*;

fn datum(json: serde_json::Value) -> Result<Datum, Malformed> {
    json.try_into()
}

#[test]
fn values_are_written_in_the_notation_of_the_protocol() {
    let uuid: Uuid = "550e8400-e29b-41d4-a716-446655440000".parse().unwrap();
    let row = Row::new()
        .with("name", "br0")
        .with("tag", 10)
        .with("share", 0.5)
        .with("up", true)
        .with("bridge", uuid)
        .with("port", "p1".parse::<NamedUuid>().unwrap())
        .with("none", None::<i64>)
        .with("trunks", Set::from([2_i64, 1, 2]))
        .with("external_ids", Map::from([("b", "2"), ("a", "1")]));
    let written = json!({
        "name": "br0",
        "tag": 10,
        "share": 0.5,
        "up": true,
        "bridge": ["uuid", "550e8400-e29b-41d4-a716-446655440000"],
        "port": ["named-uuid", "p1"],
        "none": ["set", []],
        "trunks": ["set", [1, 2]],
        "external_ids": ["map", [["a", "1"], ["b", "2"]]],
    });
    assert_eq!(serde_json::to_value(&row).unwrap(), written);
    assert_eq!(serde_json::from_value::<Row>(written).unwrap(), row);
}

#[test]
fn an_atom_is_a_set_of_one() {
    assert_eq!(datum(json!(["set", [7]])).unwrap(), datum(json!(7)).unwrap());
    assert_eq!(datum(json!(7)).unwrap().as_atom().unwrap().as_integer(), Some(7));
    assert_eq!(datum(json!(["set", []])).unwrap().as_atom(), None);
    assert_eq!(
        datum(json!(["set", [["set", [1]]]])).unwrap_err().to_string(),
        r#"an atom is expected, not ["set",[1]]"#
    );
}

#[test]
fn what_is_no_value_is_said() {
    for (json, said) in [
        (json!(null), "an atom is expected, not null"),
        (json!({}), "an atom is expected, not {}"),
        (json!([]), "an atom is expected, not []"),
        (json!(["uuid", "x"]), r#"a UUID is expected, not ["uuid","x"]"#),
        (json!(["named-uuid", "1"]), r#"a name of a row is expected, not ["named-uuid","1"]"#),
        (json!(["map", [[1]]]), "a key and a value is expected, not [1]"),
        (json!(["map", [[1, 2], [1, 3]]]), "a map with each key once is expected, not one that has a key twice"),
        (json!(u64::MAX), "a whole number of 64 bits is expected, not 18446744073709551615"),
    ] {
        assert_eq!(datum(json).unwrap_err().to_string(), said);
    }
    let long = datum(json!(["uuid", "é".repeat(500)])).unwrap_err().to_string();
    assert!(long.ends_with('…') && long.chars().count() < 200, "{long}");
}

#[test]
fn a_number_that_json_does_not_have_cannot_be_written() {
    assert!(serde_json::to_string(&Datum::from(f64::NAN)).is_err());
}

#[test]
fn getters_give_what_is_there_and_of_that_type() {
    let row = Row::new().with("a", "x").with("n", 1).with("m", Map::from([("k", "v")])).with("e", None::<i64>);
    assert_eq!((row.string("a"), row.integer("a"), row.string("b")), (Some("x"), None, None));
    assert_eq!((row.integer("n"), row.real("n"), row.boolean("n")), (Some(1), Some(1.0), None));
    assert_eq!((row.map_string("m", "k"), row.map_string("m", "l"), row.set("m")), (Some("v"), None, None));
    assert_eq!((row.integer("e"), row.set("e").map(Set::len)), (None, Some(0)));
}

#[test]
fn the_last_of_equal_keys_counts() {
    let map = Map::from([("a", 1), ("b", 2), ("a", 3), ("a", 4)]);
    assert_eq!((map.len(), map.get(&"a".into())), (2, Some(&Atom::Integer(4))));
}

fn atom() -> impl Strategy<Value = Atom> {
    prop_oneof![
        any::<i64>().prop_map(Atom::from),
        // Numbers that any reader of JSON reads exactly.
        any::<i32>().prop_map(|number| Atom::from(f64::from(number) / 8.0)),
        any::<bool>().prop_map(Atom::from),
        any::<String>().prop_map(Atom::from),
        any::<u128>().prop_map(|number| Atom::from(Uuid::from_u128(number))),
        "[a-z_][a-z0-9_]{0,5}".prop_map(|name| Atom::from(name.parse::<NamedUuid>().unwrap())),
    ]
}

fn set() -> impl Strategy<Value = Set> {
    prop::collection::vec(prop_oneof![(0_i64..9).prop_map(Atom::from), atom()], 0..8)
        .prop_map(|atoms| atoms.into_iter().collect())
}

fn map() -> impl Strategy<Value = Map> {
    let pair =
        (prop_oneof![(0_i64..9).prop_map(Atom::from), atom()], prop_oneof![(0_i64..3).prop_map(Atom::from), atom()]);
    prop::collection::vec(pair, 0..8).prop_map(|pairs| pairs.into_iter().collect())
}

proptest! {
    #[test]
    fn values_are_read_as_they_were_written(value in prop_oneof![set().prop_map(Datum::from), map().prop_map(Datum::from)]) {
        let text = serde_json::to_string(&value).unwrap();
        prop_assert_eq!(serde_json::from_str::<Datum>(&text).unwrap(), value);
    }

    #[test]
    fn the_difference_of_two_sets_leads_from_one_to_the_other(a in set(), b in set()) {
        let difference = a.symmetric_difference(&b);
        prop_assert_eq!(a.symmetric_difference(&difference), b.clone());
        prop_assert!(difference.iter().all(|atom| a.contains(atom) != b.contains(atom)));
    }

    #[test]
    fn the_difference_of_two_maps_leads_from_one_to_the_other(a in map(), b in map()) {
        prop_assert_eq!(a.patched(&a.difference(&b)), b);
    }

    #[test]
    fn a_set_is_as_its_elements_were_put_in(atoms in prop::collection::vec(atom(), 0..8)) {
        let mut built = Set::new();
        for atom in &atoms {
            built.insert(atom.clone());
        }
        prop_assert_eq!(&built, &atoms.iter().cloned().collect::<Set>());
        for atom in &atoms {
            built.remove(atom);
        }
        prop_assert!(built.is_empty());
    }
}
