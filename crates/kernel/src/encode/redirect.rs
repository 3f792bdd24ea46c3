//! Whatever comes in at one interface sent out at another, by traffic control: an ingress qdisc and a filter that every
//! packet matches (tc(8), tc-u32(8), tc-mirred(8)). Pure.

use netlink_packet_route::tc::{
    TcAction, TcActionAttribute, TcActionGeneric, TcActionMirror, TcActionMirrorOption, TcActionOption, TcActionType,
    TcAttribute, TcFilterU32, TcFilterU32Option, TcHandle, TcHeader, TcMessage, TcMirror, TcMirrorActionType, TcOption,
    TcU32Key, TcU32Selector, TcU32SelectorFlags,
};

/// The handle that an ingress qdisc has.
const INGRESS: TcHandle = TcHandle { major: 0xffff, minor: 0 };
/// ETH_P_ALL of linux/if_ether.h.
const ALL: u16 = 3;
/// The priority of our filter.
const PRIORITY: u32 = 1;

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
    let mut selector = TcU32Selector::default();
    selector.flags = TcU32SelectorFlags::Terminal;
    selector.nkeys = 1;
    selector.keys = vec![TcU32Key::default()];
    let mut message = on(from);
    message.header.parent = INGRESS;
    message.header.info = PRIORITY << 16 | u32::from(ALL.to_be());
    message.attributes = vec![
        TcAttribute::Kind(TcFilterU32::KIND.to_owned()),
        TcAttribute::Options(vec![
            TcOption::U32(TcFilterU32Option::Selector(selector)),
            TcOption::U32(TcFilterU32Option::Action(vec![action])),
        ]),
    ];
    message
}

fn on(ifindex: u32) -> TcMessage {
    TcMessage::from_parts(TcHeader { index: ifindex.cast_signed(), ..TcHeader::default() }, Vec::new())
}
