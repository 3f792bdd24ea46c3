//! The functions that are not Go's own, each as people call it.

use netloom_template::{Source, Value, render};

fn data() -> Value {
    let list = |items: &[&str]| Value::list(items.iter().map(|item| Value::from(*item)).collect());
    let map = |entries: Vec<(&str, Value)>| Value::map(entries.into_iter().map(|(k, v)| (k.to_owned(), v)).collect());
    let node = |name: &str, asn: i64| map(vec![("name", name.into()), ("asn", asn.into())]);
    map(vec![
        ("list", list(&["b", "a", "c", "a"])),
        ("numbers", Value::list(vec![3.into(), 1.into(), 2.5.into()])),
        ("map", map(vec![("x", 1.into()), ("y", map(vec![("z", "deep".into())]))])),
        ("nodes", Value::list(vec![node("r2", 65002), node("r1", 65001)])),
        ("nested", Value::list(vec![list(&["a"]), Value::list(vec![list(&["b", "c"])])])),
    ])
}

fn made(text: &str) -> String {
    match render(&[Source { name: "main", text }], &data()) {
        Ok(made) => made.text,
        Err(errors) => format!("refused: {}", errors[0]),
    }
}

#[track_caller]
fn all(cases: &[(&str, &str)]) {
    for (expression, wanted) in cases {
        assert_eq!(made(&format!("{{{{ {expression} }}}}")), *wanted, "{expression}");
    }
}

#[test]
fn texts() {
    all(&[
        ("strings.ToUpper \"abc\"", "ABC"),
        ("\"ABC\" | strings.ToLower", "abc"),
        ("toUpper \"é\"", "É"),
        ("title \"a lab of ours\"", "A Lab Of Ours"),
        ("strings.TrimSpace \" a \\n\"", "a"),
        ("\"--a--\" | strings.Trim \"-\"", "a"),
        ("trim \"--a--\" \"-\"", "a"),
        ("strings.TrimLeft \"-\" \"--a--\"", "a--"),
        ("strings.TrimRight \"-\" \"--a--\"", "--a"),
        ("\"leaf1\" | strings.TrimPrefix \"leaf\"", "1"),
        ("\"lab.yml\" | strings.TrimSuffix \".yml\"", "lab"),
        ("strings.Contains \"ea\" \"leaf\"", "true"),
        ("contains \"leaf\" \"ea\"", "true"),
        ("strings.HasPrefix \"le\" \"leaf\"", "true"),
        ("hasPrefix \"leaf\" \"le\"", "true"),
        ("hasSuffix \"leaf\" \"le\"", "false"),
        ("strings.Split \",\" \"a,b,,c\"", "[a b  c]"),
        ("split \"a.b\" \".\" | len", "2"),
        ("strings.Split \"\" \"añb\"", "[a ñ b]"),
        ("strings.SplitN \",\" 2 \"a,b,c\"", "[a b,c]"),
        ("strings.SplitN \"\" 2 \"abc\"", "[a bc]"),
        ("\"a-b-c\" | strings.ReplaceAll \"-\" \"_\"", "a_b_c"),
        ("strings.Repeat 3 \"ab\"", "ababab"),
        ("strings.Repeat -1 \"ab\"", "refused: a text cannot be repeated -1 times"),
        ("indent 2 \"a\\n\\nb\"", "  a\n\n  b"),
        ("indent \"> \" \"a\\nb\"", "> a\n> b"),
        ("indent 2 \"-\" \"a\"", "--a"),
        ("indent \"a\"", " a"),
        ("quote \"a\\\"b\"", "\"a\\\"b\""),
        ("squote \"it's\"", "'it''s'"),
        ("shellQuote \"it's\"", "'it'\"'\"'s'"),
        ("shellQuote .list", "'b' 'a' 'c' 'a'"),
        ("strings.Trunc 2 \"aéb\"", "a"),
        ("strings.SkipLines 1 \"a\\nb\\nc\"", "b\nc"),
        ("strings.RuneCount \"é\" 12", "3"),
        ("strings.CamelCase \"one two-three\"", "oneTwoThree"),
        ("strings.SnakeCase \"one two-three\"", "one_two_three"),
        ("strings.KebabCase \"one two_three\"", "one-two-three"),
    ]);
}

#[test]
fn numbers_and_conversions() {
    all(&[
        ("math.Add 1 2 3", "6"),
        ("math.Max 1 5 3", "5"),
        ("math.Min 1.5 5", "1.5"),
        ("math.Abs -3", "3"),
        ("math.Ceil 1.2", "2"),
        ("math.Floor -1.2", "-2"),
        ("math.Round 2.5", "3"),
        ("math.IsInt \"0x1f\"", "true"),
        ("math.IsFloat \"1.5\"", "true"),
        ("math.IsNum \"x\"", "false"),
        ("idiv 300 256", "1"),
        ("idiv 1 0", "refused: this divides by zero"),
        ("add 9223372036854775807 1", "-9223372036854775808"),
        ("conv.ToInt \"1,000\"", "1000"),
        ("conv.ToInt 2.9", "2"),
        ("conv.ToInt \"x\"", "refused: `x` is not a number"),
        ("conv.ToFloat64 \"2\" | printf \"%T\"", "float64"),
        ("conv.ParseInt \"ff\" 16 64", "255"),
        ("conv.Atoi \"017\"", "17"),
        ("conv.ToBool \"yes\"", "true"),
        ("conv.ToBool 0", "false"),
        ("conv.ToString .numbers", "[3 1 2.5]"),
        ("conv.ToStrings 1 true | printf \"%q\"", "[\"1\" \"true\"]"),
        ("conv.ToInts \"1\" 2.5", "[1 2]"),
        ("join .list \",\"", "b,a,c,a"),
        ("default 5 0", "5"),
        ("\"\" | default \"none\"", "none"),
        ("ternary \"up\" \"down\" true", "up"),
        ("required \"say n\" .n", "refused: say n; `.n` has no value; is it in the data?"),
        ("fail \"no\"", "refused: no"),
        ("toJSON .map", "{\"x\":1,\"y\":{\"z\":\"deep\"}}"),
        ("data.ToJSONPretty \" \" .numbers", "[\n 3,\n 1,\n 2.5\n]"),
    ]);
}

#[test]
fn lists_and_maps() {
    all(&[
        ("coll.Slice 1 \"a\"", "[1 a]"),
        ("slice 1 2 3", "[1 2 3]"),
        ("slice \"a\" \"b\"", "[a b]"),
        ("coll.GoSlice .list 1 3", "[a c]"),
        ("dict \"a\" 1 \"b\"", "map[a:1 b:]"),
        ("has .map \"x\"", "true"),
        ("has .list \"z\"", "false"),
        ("coll.Index \"y\" \"z\" .map", "deep"),
        ("coll.Index \"xx\" .map", "refused: the map has no key `xx`"),
        ("keys .map", "[x y]"),
        ("index (values .map) 0", "1"),
        ("append \"d\" .list", "[b a c a d]"),
        ("prepend \"d\" .list", "[d b a c a]"),
        ("uniq .list", "[b a c]"),
        ("reverse .list", "[a c a b]"),
        ("sort .list", "[a a b c]"),
        ("sort .numbers", "[1 2.5 3]"),
        ("range sort \"name\" .nodes }}{{ .name }}{{ end", "r1r2"),
        ("flatten .nested", "[a b c]"),
        ("flatten 1 .nested", "[a [b c]]"),
        ("merge (dict \"x\" 2) .map (dict \"w\" 0)", "map[w:0 x:2 y:map[z:deep]]"),
        ("set \"x\" 5 .map", "map[x:5 y:map[z:deep]]"),
        ("unset \"y\" .map", "map[x:1]"),
        ("coll.Pick \"x\" .map", "map[x:1]"),
        ("coll.Omit (coll.Slice \"y\") .map", "map[x:1]"),
        ("keys .list", "refused: a map is needed, and this is a list"),
    ]);
}

#[test]
fn addresses() {
    all(&[
        ("net.CIDRHost 1 \"10.0.0.0/24\"", "10.0.0.1"),
        ("net.CIDRHost -1 \"10.0.0.0/24\"", "10.0.0.255"),
        ("net.CIDRHost 256 \"10.0.0.0/24\"", "refused: the network 10.0.0.0/24 has no host number 256"),
        ("cidrHost 10 \"2001:db8::/64\"", "2001:db8::a"),
        ("net.CIDRHost 0 \"10.1.2.3/32\"", "10.1.2.3"),
        ("net.CIDRNetmask \"10.0.0.0/20\"", "255.255.240.0"),
        ("net.CidrNetmask \"2001:db8::/32\"", "ffff:ffff::"),
        ("net.CIDRSubnets 2 \"10.0.0.0/22\"", "[10.0.0.0/24 10.0.1.0/24 10.0.2.0/24 10.0.3.0/24]"),
        ("index (cidrSubnets 16 \"2001:db8::/48\") 65535", "2001:db8:0:ffff::/64"),
        (
            "cidrSubnets 9 \"10.0.0.0/24\"",
            "refused: the prefix of 10.0.0.0/24 cannot be 9 bits longer; 1 to 8 are possible",
        ),
        ("net.CIDRSubnetSizes 4 4 8 4 \"10.1.0.0/16\"", "[10.1.0.0/20 10.1.16.0/20 10.1.32.0/24 10.1.48.0/20]"),
        ("net.CIDRSubnetSizes 1 1 1 \"10.0.0.0/8\"", "refused: the network 10.0.0.0/8 has no room left for a /9"),
        ("net.CIDRSubnetSizes 1 1 1 \"::/0\"", "refused: the network ::/0 has no room left for a /1"),
        ("net.CIDRSubnetSizes 1 1 1 \"128.0.0.0/1\"", "refused: the network 128.0.0.0/1 has no room left for a /2"),
        ("net.ParseAddr \"2001:DB8:0::1\"", "2001:db8::1"),
        ("net.ParsePrefix \"10.0.0.1/24\"", "10.0.0.1/24"),
        (
            "net.ParsePrefix \"10.0.0.1\"",
            "refused: `10.0.0.1` is not a network; write it with its prefix length, for example `10.0.0.0/24`",
        ),
    ]);
}

#[test]
fn regular_expressions() {
    all(&[
        ("regexp.Match `^r[0-9]+$` \"r12\"", "true"),
        ("regexp.Find `[0-9]+` \"leaf12-3\"", "12"),
        ("regexp.FindAll `[0-9]+` \"leaf12-3\"", "[12 3]"),
        ("regexp.FindAll `[0-9]+` 1 \"leaf12-3\"", "[12]"),
        ("regexp.Replace `(\\w+)-(\\w+)` \"$2-$1\" \"a-b\"", "b-a"),
        ("regexp.Replace `(?P<n>\\d+)` `<${n}>` \"r1\"", "r<1>"),
        ("regexp.ReplaceLiteral `a` \"$1\" \"banana\"", "b$1n$1n$1"),
        ("regexp.Split `[ ,]+` \"a, b c\"", "[a b c]"),
        ("regexp.Replace `[^\\w.]` `_` \"a b.é\"", "a_b._"),
        ("regexp.FindAll `\\b\\w\\S*` \"ab c-d\"", "[ab c-d]"),
        ("regexp.Match `(?i)^É$` \"é\"", "true"),
        ("regexp.QuoteMeta \"a.b*\"", "a\\.b\\*"),
    ]);
}

#[test]
fn what_is_misspelt_is_recognised() {
    for (text, said) in [
        ("{{ strings.ToUper \"a\" }}", "did you mean `strings.ToUpper`"),
        ("{{ sequence 1 }}", "there is no function `sequence`"),
        ("{{ prntf \"a\" }}", "did you mean `printf`"),
        ("{{ strings \"a\" }}", "`strings` is a family of functions; there are `strings.ToUpper`"),
        ("{{ math.Nothing 1 }}", "there are `math.Add`"),
        ("{{ $node := 1 }}{{ $nodes }}", "did you mean `$node`"),
        ("{{ define \"spine\" }}{{ end }}{{ template \"spin\" }}", "did you mean `spine`"),
        ("{{ len 1 2 }}", "`len` takes 1 argument, and here are 2"),
        ("{{ seq }}", "`seq` takes 1 to 3 arguments, and here are 0"),
        ("{{ index }}", "`index` takes at least 1 argument, and here are 0"),
        ("{{ eq 1 \"1\" }}", "`conv.ToInt` makes a text a number"),
        ("{{ .node-name }}", "`-` cannot be in a name"),
        ("{{ image }}", "a value of the data is written `.image`; if this is a template of Jinja"),
        ("{{ item.image }}", "is written `.item`"),
        ("{{ image | default 1 }}", "is written `.image`"),
        ("{{ lookup('env', 'X') }}", "there is no function `lookup`; a value"),
        ("{{ i }}", "did you mean `if`? a value of the data is written `.i`"),
    ] {
        let error = made(text);
        assert!(error.contains(said), "{text}: {error}");
    }
}

#[test]
fn later_sources_are_called_by_name_and_replace_blocks() {
    let main = "{{ block \"kind\" . }}linux{{ end }} {{ template \"more\" 7 }}";
    let more = "<{{ . }}>{{ define \"kind\" }}bridge{{ end }}";
    let sources = [Source { name: "main", text: main }, Source { name: "more", text: more }];
    let made = render(&sources, &Value::Missing).unwrap();
    assert_eq!(made.text, "bridge <7>");
    assert_eq!(made.runs.iter().map(|run| run.source).collect::<Vec<_>>(), [1, 0, 1, 1, 1]);
    let broken = [Source { name: "main", text: main }, Source { name: "more", text: "\n{{ nosuch }}" }];
    let errors = render(&broken, &Value::Missing).unwrap_err();
    assert_eq!((errors[0].source, errors[0].range.clone(), errors.len()), (1, 4..10, 1));
    assert_eq!(render(&[], &Value::Missing).unwrap().text, "");
}

#[test]
fn data_is_merged_at_every_level() {
    let under = Value::map(
        [("a".to_owned(), Value::map([("x".to_owned(), 1.into()), ("y".to_owned(), 2.into())].into()))].into(),
    );
    let over = Value::map([("a".to_owned(), Value::map([("y".to_owned(), 3.into())].into()))].into());
    let merged = under.merged(over).merged(Value::Nil);
    let made = render(&[Source { name: "main", text: "{{ .a }}" }], &merged).unwrap();
    assert_eq!(made.text, "map[x:1 y:3]");
}
