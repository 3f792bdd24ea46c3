//! Links that somebody else made, marked as ours: nothing but alias and group of their interfaces is set, so that no packet is
//! lost.

use netloom_engine::{Context, DriverError, ErrorClass, Place, PortMark};
use netloom_failpoint::point;
use netloom_kernel::{KernelErrorKind, LinkChange, LinkInfo, Request};
use netloom_model::InterfaceName;
use netloom_plan::AdminState;

use super::apply::{Call, Work};
use super::body::Body;
use super::create::is_pair;
use super::mark::Marks;
use super::wire::{Port, Wire};
use super::{KernelFabric, cause_of, class_of, refusal};

impl KernelFabric {
    /// Removes interfaces of the host that are the end of a cable or a tunnel and carry no mark of an agent of netloom; those that
    /// are not there are fine.
    pub(crate) async fn remove_strays(&self, names: &[InterfaceName], context: &Context) -> Result<(), DriverError> {
        if names.is_empty() {
            return Ok(());
        }
        let (host, _) = self.look_into(&[], context).await?;
        let is_stray =
            |link: &&LinkInfo| matches!(link.kind.as_deref(), Some("veth" | "vxlan")) && !Marks::is_any(link);
        let strays = names.iter().filter_map(|name| host.named(name.as_str())).filter(is_stray);
        let place = self.host(context).await?;
        let delete = |link: &LinkInfo| Request::DeleteLink { place: place.clone(), ifindex: link.ifindex };
        let deletes: Vec<Request> = strays.map(delete).collect();
        let failed = |class, why: &str| refusal("remove", "interfaces of another agent", why, class);
        let done = self.submit(deletes, context).await.map_err(|class| failed(class, cause_of(class)))?;
        let error = done.into_iter().filter_map(Result::err).find(|error| error.kind != KernelErrorKind::NotFound);
        error.map_or(Ok(()), |error| Err(failed(class_of(error.kind), &error.message)))
    }
}

impl Call<'_> {
    pub(super) async fn adopt(&mut self, wires: Vec<Wire>) {
        if wires.is_empty() {
            return;
        }
        let mut work = Work::default();
        for wire in self.seen(wires).await {
            match self.marks_of(&wire) {
                Ok(marks) => {
                    self.accept(wire.order);
                    for (place, request) in marks {
                        work.add(&place, wire.order, [request]);
                    }
                }
                Err(cause) => self.refuse(wire.order, cause, ErrorClass::Permanent),
            }
        }
        self.carry_out(work).await;
        point!("link.marked");
    }

    /// What marks the interfaces of a link that are not marked yet; `Err` says why they are not it.
    fn marks_of(&self, wire: &Wire) -> Result<Vec<(Place, Request)>, String> {
        let found = wire.ports().map(|port| Ok((port, self.there(wire, port)?)));
        let found = found.collect::<Result<Vec<(&Port, &LinkInfo)>, String>>()?;
        if let [(a, one), (b, two)] = found.as_slice()
            && !is_pair(one, two)
        {
            return Err(format!("`{}` and `{}` are not the ends of one cable", a.name(), b.name()));
        }
        if let (Body::Vxlan(way), [(port, link)]) = (&wire.body, found.as_slice())
            && !way.is(link)
        {
            return Err(format!("`{}` is another tunnel than it should be", port.name()));
        }
        let marks = &self.fabric.shared.marks;
        let unmarked = found.into_iter().filter(|(_, link)| !marks.is_of(link, &wire.lab, &wire.id));
        let mark = |(port, link): (&Port, &LinkInfo)| {
            let alias = port.alias(marks, &wire.lab, &wire.id, &wire.fingerprint, AdminState::Up);
            let change =
                LinkChange { alias: Some(alias), group: Some(marks.lab_group(&wire.lab)), ..LinkChange::default() };
            let place = self.kernel[&port.place].clone();
            (port.place.clone(), Request::SetLink { place, ifindex: link.ifindex, change })
        };
        Ok(unmarked.map(mark).collect())
    }

    /// The interface of a port, if it is there and nobody else's.
    fn there(&self, wire: &Wire, port: &Port) -> Result<&LinkInfo, String> {
        let at = &self.kernel[&port.place];
        let found = self.dumps.get(&port.place).and_then(|dump| dump.named(port.name().as_str()));
        let found = found.ok_or_else(|| format!("its interface `{}` is not there {at}", port.name()))?;
        let name = port.name();
        match self.fabric.shared.marks.read(found) {
            Some(PortMark::Link { lab, link, .. }) if lab == wire.lab && link == wire.id => Ok(found),
            Some(PortMark::Link { lab, link, .. }) => {
                Err(format!("its interface `{name}` {at} belongs to link {link} of lab {lab}"))
            }
            Some(PortMark::Bridge) => Err(format!("`{name}` {at} is a bridge that netloom made")),
            None if Marks::is_any(found) => {
                Err(format!("its interface `{name}` {at} is that of another agent of netloom"))
            }
            None => Ok(found),
        }
    }
}
