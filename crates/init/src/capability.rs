//! What nothing in a node may do: load modules, set the clock, touch ports and raw memory, make device files.
//!
//! A node is not a security boundary; this keeps an accident in a node from reaching the host.

use rustix::io::{Errno, Result};
use rustix::thread::{
    CapabilitySet, capabilities, clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
};

const DANGEROUS: [CapabilitySet; 4] =
    [CapabilitySet::SYS_MODULE, CapabilitySet::SYS_TIME, CapabilitySet::SYS_RAWIO, CapabilitySet::MKNOD];

/// Takes the dangerous ones away from this process and from whatever it starts.
pub(crate) fn drop_dangerous() -> Result<()> {
    let dangerous = DANGEROUS.into_iter().fold(CapabilitySet::empty(), |all, one| all | one);
    take_away(dangerous)
}

/// Takes all but those of a mask away from this process and from whatever it starts.
pub(crate) fn keep_only(mask: u64) -> Result<()> {
    take_away(CapabilitySet::all().difference(CapabilitySet::from_bits_retain(mask)))
}

fn take_away(taken: CapabilitySet) -> Result<()> {
    let mut sets = capabilities(None)?;
    for capability in taken.iter() {
        match remove_capability_from_bounding_set(capability) {
            // One that this kernel does not know.
            Err(Errno::INVAL) => {}
            other => other?,
        }
    }
    for set in [&mut sets.effective, &mut sets.permitted, &mut sets.inheritable] {
        set.remove(taken);
    }
    clear_ambient_capability_set()?;
    set_capabilities(None, sets)
}
