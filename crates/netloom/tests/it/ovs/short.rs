//! Tags that run short.

use super::{ON_OVS, OvsHost, ring};

#[test]
fn from_nine_tags_in_ten_that_are_taken_the_capability_is_degraded_and_with_none_left_a_link_is_refused() {
    let Some(host) = OvsHost::new() else { return };
    let file = host.topology("x", &ring("x", ON_OVS));
    host.netloom(&["deploy", "-t", &file]).code(0).says("3 of 3 links up");
    let take = |tags: std::ops::Range<u16>| {
        let pairs: Vec<String> = tags.map(|tag| format!("external_ids:netloom-tag-{tag}=other/y/{tag}")).collect();
        host.vsctl(&format!("set bridge arch-ovs {}", pairs.join(" "))).code(0);
    };
    take(2053..4001);
    take(100..1700);
    host.until("it is said", |_| host.capability() == "degraded");
    assert!(host.why_not().contains("nine in ten of the 3901 tags of bridge `arch-ovs`"), "{}", host.why_not());
    assert_eq!(host.ask("GET /readyz").status, 200, "it can be used all the same");
    host.netloom(&["link", "add", "x", "a:eth5", "b:eth5"]).code(0).says("is up");

    take(1701..2050);
    let all = "all 3901 tags of the bridge are taken; destroy a lab that is on it";
    host.netloom(&["link", "add", "x", "a:eth6", "b:eth6"]).code(1).says(all);
    assert!(host.pings("x/a", "10.0.1.2"));
}
