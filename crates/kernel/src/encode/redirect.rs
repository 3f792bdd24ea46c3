//! Whatever comes in at one interface sent out at another, by traffic control: an ingress qdisc and a filter that every
//! packet matches (tc(8), tc-u32(8), tc-mirred(8)). Pure.

use netlink_packet_route::tc::{
    TcAction, TcActionAttribute, TcActionGeneric, TcActionMirror, TcActionMirrorOption, TcActionOption, TcActionType,
    TcAttribute, TcFilterU32, TcFilterU32Option, TcHandle, TcHeader, TcMessage, TcMirror, TcMirrorActionType, TcOption,
    TcU32Key, TcU32Selector, TcU32SelectorFlags,
};

use crate::fail_signal::{TO as FAIL_SIGNALS_TO, TYPE as FAIL_SIGNALS_TYPE};

/// The handle that an ingress qdisc has.
const INGRESS: TcHandle = TcHandle { major: 0xffff, minor: 0 };
/// ETH_P_ALL of linux/if_ether.h.
const ALL: u16 = 3;
/// The priorities of our filters: the lower one is asked first.
const SIGNALS: u32 = 1;
const REDIRECT: u32 = 2;

/// Makes place for filters on what comes in.
pub(super) fn ingress(ifindex: u32) -> TcMessage {
    let mut message = on(ifindex);
    message.header.handle = INGRESS;
    message.header.parent = TcHandle::INGRESS;
    message.attributes.push(TcAttribute::Kind("ingress".to_owned()));
    message
}

/// The filter.
pub(super) fn redirect(from: u32, to: u32) -> TcMessage {
    let mut generic = TcActionGeneric::default();
    generic.action = TcActionType::Stolen;
    let mut mirror = TcMirror::default();
    mirror.generic = generic;
    mirror.eaction = TcMirrorActionType::EgressRedir;
    mirror.ifindex = to;
    let mut action = TcAction::default();
    action.attributes = vec![
        TcActionAttribute::Kind(TcActionMirror::KIND.to_owned()),
        TcActionAttribute::Options(vec![TcActionOption::Mirror(TcActionMirrorOption::Parms(mirror))]),
    ];
    // One key with an empty mask fits every packet; `matchall` is a module that fewer kernels have.
    filter(from, REDIRECT, vec![TcU32Key::default()], vec![action])
}

/// The filter that leaves to the host what one host says to the other ([`crate::fail_signal`]): nobody in the link sees it.
pub(super) fn leave_fail_signals(at: u32) -> TcMessage {
    let key = |offset, value: u32, mask: u32| {
        let mut key = TcU32Key::default();
        (key.off, key.val, key.mask) = (offset, value, mask);
        key
    };
    let [high, low, word @ ..] = FAIL_SIGNALS_TO;
    // From the end of the Ethernet header, whose 14 bytes begin in the middle of a word.
    let keys = vec![
        key(-16, u32::from(u16::from_be_bytes([high, low])), 0xffff),
        key(-12, u32::from_be_bytes(word), u32::MAX),
        key(-4, u32::from(FAIL_SIGNALS_TYPE), 0xffff),
    ];
    // What fits and has no action goes on as if there were no filters.
    filter(at, SIGNALS, keys, Vec::new())
}

fn filter(ifindex: u32, priority: u32, keys: Vec<TcU32Key>, actions: Vec<TcAction>) -> TcMessage {
    let mut selector = TcU32Selector::default();
    selector.flags = TcU32SelectorFlags::Terminal;
    selector.nkeys = u8::try_from(keys.len()).expect("there are few");
    selector.keys = keys;
    let mut options = vec![TcOption::U32(TcFilterU32Option::Selector(selector))];
    if !actions.is_empty() {
        options.push(TcOption::U32(TcFilterU32Option::Action(actions)));
    }
    let mut message = on(ifindex);
    message.header.parent = INGRESS;
    message.header.info = priority << 16 | u32::from(ALL.to_be());
    message.attributes = vec![TcAttribute::Kind(TcFilterU32::KIND.to_owned()), TcAttribute::Options(options)];
    message
}

fn on(ifindex: u32) -> TcMessage {
    TcMessage::from_parts(TcHeader { index: ifindex.cast_signed(), ..TcHeader::default() }, Vec::new())
}
