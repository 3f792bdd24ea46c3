//! What nothing in a node may do: load modules, set the clock, touch ports and raw memory, make device files.
//!
//! A node is not a security boundary; this keeps an accident in a node from reaching the host.

use rustix::io::Result;
use rustix::thread::{
    CapabilitySet, capabilities, clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
};

const DANGEROUS: [CapabilitySet; 4] =
    [CapabilitySet::SYS_MODULE, CapabilitySet::SYS_TIME, CapabilitySet::SYS_RAWIO, CapabilitySet::MKNOD];

/// Takes the capabilities away from this process and from whatever it starts.
pub(crate) fn drop_dangerous() -> Result<()> {
    let mut sets = capabilities(None)?;
    for capability in DANGEROUS {
        remove_capability_from_bounding_set(capability)?;
        for set in [&mut sets.effective, &mut sets.permitted, &mut sets.inheritable] {
            set.remove(capability);
        }
    }
    clear_ambient_capability_set()?;
    set_capabilities(None, sets)
}
