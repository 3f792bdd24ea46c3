//! MAC addresses of ends that name none.

use sha2::{Digest, Sha256};

use crate::name::{LabName, Mac};

/// The MAC address of an end that names none: OUI `aa:c1:ab` and 24 bits of a hash, so that it is the same
/// at every deploy. `attempt` counts up when the address is taken (24 bits clash in 11 % of labs with 2,000 ends).
pub fn derived_mac(lab: &LabName, end: &str, attempt: u32) -> Mac {
    DerivedMacs::new(lab).of([end], attempt)
}

/// The addresses of many ends of one lab.
pub(crate) struct DerivedMacs {
    /// What is hashed; begins with what all ends have in common.
    text: Vec<u8>,
    common: usize,
}

impl DerivedMacs {
    pub(crate) fn new(lab: &LabName) -> Self {
        let text = [lab.as_str().as_bytes(), b"\0"].concat();
        Self { common: text.len(), text }
    }

    /// [`derived_mac`] of the end with this label, here in parts.
    pub(crate) fn of<const N: usize>(&mut self, label: [&str; N], attempt: u32) -> Mac {
        self.text.truncate(self.common);
        for part in label {
            self.text.extend_from_slice(part.as_bytes());
        }
        self.text.push(0);
        match attempt {
            0 => self.text.push(b'0'),
            later => self.text.extend_from_slice(later.to_string().as_bytes()),
        }
        let digest = Sha256::digest(&self.text);
        Mac([0xaa, 0xc1, 0xab, digest[0], digest[1], digest[2]])
    }
}

#[cfg(test)]
mod tests {
    use super::derived_mac;

    /// Computed with `printf 'lab\0r1:eth1\0%s' 0 | sha256sum`: labs that run have them, so they cannot change.
    #[test]
    fn addresses_are_what_they_always_were() {
        let mac = |attempt| derived_mac(&"lab".parse().unwrap(), "r1:eth1", attempt).to_string();
        assert_eq!([mac(0), mac(1), mac(12)], ["aa:c1:ab:95:f3:b8", "aa:c1:ab:54:af:87", "aa:c1:ab:f7:a1:7d"]);
    }
}
