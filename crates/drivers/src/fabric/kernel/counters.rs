//! What links carry: one dump of each namespace that holds an end of them.

use std::collections::BTreeSet;

use netloom_engine::{Context, Count, DriverError, ErrorClass, Place, PortCounters, PortMark};
use netloom_kernel::Counters;
use netloom_model::LabName;

use super::{KernelFabric, OPEN_AT_ONCE, cause_of, class_of_submit, places, refusal};

pub(super) async fn read(
    fabric: &KernelFabric,
    lab: &LabName,
    context: &Context,
) -> Result<Vec<PortCounters>, DriverError> {
    let failed = |cause: String, class| refusal("read the counters of", format!("lab {lab}"), cause, class);
    let of_class = |class: ErrorClass| failed(cause_of(class).to_owned(), class);
    let ends = {
        let mirror = fabric.shared.mirror();
        mirror.marked(&fabric.shared.marks, |mark| matches!(mark, PortMark::Link { lab: of, .. } if of == lab))
    };
    let places: BTreeSet<&Place> = ends.iter().map(|(place, _)| place).collect();
    let places: Vec<Place> = places.into_iter().cloned().collect();
    let mut all = Vec::with_capacity(ends.len());
    for part in places.chunks(OPEN_AT_ONCE) {
        let mut open = Vec::with_capacity(part.len());
        for opened in fabric.places.open_to_read(part.to_vec(), context.deadline).await.map_err(of_class)? {
            match opened {
                Ok(place) => open.push(place),
                // It has just gone.
                Err(error) if places::is_gone(&error) => {}
                Err(error) => return Err(failed(error.to_string(), ErrorClass::Transient)),
            }
        }
        let (names, kernel): (Vec<Place>, Vec<_>) = open.into_iter().map(|open| (open.place, open.kernel)).unzip();
        let counted = fabric.dumper.counters(kernel, context.deadline).await;
        let counted = counted.map_err(|error| of_class(class_of_submit(error)))?;
        for (place, counters) in names.into_iter().zip(counted) {
            let counters = counters.map_err(|error| failed(error.to_string(), super::class_of(error.kind)))?;
            let ours = counters.iter().filter(|port| ends.contains(&(place.clone(), port.ifindex)));
            all.extend(ours.map(|port| counts(&place, port)));
        }
    }
    Ok(all)
}

fn counts(place: &Place, of: &Counters) -> PortCounters {
    PortCounters {
        place: place.clone(),
        ifindex: of.ifindex,
        rx: Count { bytes: of.rx_bytes, packets: of.rx_packets, drops: of.rx_dropped, errors: of.rx_errors },
        tx: Count { bytes: of.tx_bytes, packets: of.tx_packets, drops: of.tx_dropped, errors: of.tx_errors },
    }
}
