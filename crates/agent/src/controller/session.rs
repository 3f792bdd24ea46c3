//! Registration and heartbeats: the agent makes itself known, and says every ten seconds that it is there.
//!
//! Only a controller that does not know the agent has it register again. One that is away, slow, broken or refuses changes
//! nothing: the next beat comes all the same.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use netloom_engine::{DataPlane, WantedBy, WayOut};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::backoff::Backoff;
use super::call::{Caller, Failure};
use super::config::AgentId;
use super::member::Member;
use super::profile::{AgentProfile, Capabilities};
use super::usage::ResourceUsage;
use super::voice::Voice;

/// How often the agent says that it is there.
const PERIOD: Duration = Duration::from_secs(10);
/// How long the controller may take for an answer to that; less than a period, so that beats never wait for each other.
const BEAT_LIMIT: Duration = Duration::from_secs(5);
/// How long it may take to register an agent.
const REGISTER_LIMIT: Duration = Duration::from_secs(10);

/// What each beat takes from memory.
pub(super) struct Load {
    pub(super) active_jobs: usize,
    pub(super) usage: ResourceUsage,
    /// The address of tunnels, if there is one of their own.
    pub(super) data_plane: Option<DataPlane>,
}

/// The agent's standing with one controller.
pub(super) struct Session {
    pub(super) caller: Caller,
    pub(super) member: Arc<Member>,
    pub(super) capabilities: Capabilities,
    pub(super) load: Box<dyn Fn() -> Load + Send + Sync>,
    voice: Voice,
    /// The way to others: another one may mean another address.
    way_out: Option<watch::Receiver<Option<WayOut>>>,
    /// The address that the controller was told.
    told: String,
    /// When it was asked last to register the agent,
    registered: SystemTime,
    /// and the address of tunnels that it has acknowledged since.
    acknowledged: Option<IpAddr>,
}

#[derive(Serialize)]
struct Register {
    agent: AgentProfile,
    token: Option<&'static str>,
}

#[derive(Deserialize)]
struct Registered {
    #[serde(default)]
    success: Option<bool>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    assigned_id: Option<String>,
}

#[derive(Serialize)]
struct Heartbeat<'a> {
    agent_id: &'a AgentId,
    /// Any other word takes the agent out of everything.
    status: &'static str,
    active_jobs: usize,
    resource_usage: ResourceUsage,
    /// Where it is not said what the controller knows stays.
    data_plane_ip: Option<IpAddr>,
    docker_snapshotter_mode: Option<&'static str>,
}

#[derive(Deserialize)]
struct Acknowledged {
    #[serde(default)]
    acknowledged: Option<bool>,
}

impl Session {
    pub(super) fn new(
        caller: Caller,
        member: Arc<Member>,
        capabilities: Capabilities,
        load: Box<dyn Fn() -> Load + Send + Sync>,
    ) -> Self {
        let voice = Voice::new("registration and heartbeats");
        Self {
            caller,
            member,
            capabilities,
            load,
            voice,
            way_out: None,
            told: String::new(),
            registered: SystemTime::UNIX_EPOCH,
            acknowledged: None,
        }
    }

    /// The same, which registers again when the way to others has become another one and with it the agent's address.
    pub(super) fn following(self, way_out: watch::Receiver<Option<WayOut>>) -> Self {
        Self { way_out: Some(way_out), ..self }
    }

    /// Keeps the agent registered for ever. Cancel-safe.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::default();
        loop {
            while let Err(failure) = self.register().await {
                self.voice.failed(&failure);
                sleep(backoff.next()).await;
            }
            // A controller that takes the agent and does not know it after all is asked again only after a pause.
            if !self.beat_until_unknown(&mut backoff).await {
                sleep(backoff.next()).await;
            }
        }
    }

    async fn register(&mut self) -> Result<(), Failure> {
        let data_plane = (self.load)().data_plane.map(|plane| plane.address);
        // With a registration it forgets what it had.
        (self.registered, self.acknowledged) = (SystemTime::now(), None);
        let agent = self.member.profile(self.capabilities.clone(), data_plane).await;
        let address = agent.address.clone();
        // It may have moved while it did not know the agent.
        self.caller.look_again();
        let said: Registered =
            self.caller.post("/agents/register", &Register { agent, token: None }, REGISTER_LIMIT).await?;
        if said.success == Some(false) {
            return Err(Failure::Unusable(said.message.unwrap_or_else(|| "that it did not register it".to_owned())));
        }
        match said.assigned_id.as_deref().map(str::parse::<AgentId>) {
            Some(Ok(id)) if self.member.adopt(&id) => {
                tracing::info!(id = %self.member.id(), "the controller has given the agent another id");
            }
            Some(Err(why)) => tracing::warn!(%why, "the id that the controller assigns cannot be used"),
            Some(Ok(_)) | None => {}
        }
        self.voice.well();
        self.member.counts.registrations.fetch_add(1, Ordering::Relaxed);
        self.member.registered.send_replace(true);
        tracing::info!(id = %self.member.id(), address, "registered at the controller");
        self.told = address;
        Ok(())
    }

    /// Says that the agent is there until the controller does not know it. Says whether a beat was acknowledged before, or it
    /// has another address.
    async fn beat_until_unknown(&mut self, backoff: &mut Backoff) -> bool {
        let mut turns = interval(PERIOD);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut was_known = false;
        loop {
            tokio::select! {
                _ = turns.tick() => {}
                () = next_way(&mut self.way_out) => {
                    if self.has_moved().await {
                        return true;
                    }
                    continue;
                }
            }
            match self.beat().await {
                Ok(()) => {
                    self.voice.well();
                    backoff.reset();
                    was_known = true;
                }
                Err(Failure::Unknown) => {
                    self.member.registered.send_replace(false);
                    tracing::info!(id = %self.member.id(), "the controller does not know the agent; it registers again");
                    return was_known;
                }
                Err(failure) => self.voice.failed(&failure),
            }
        }
    }

    /// Whether the agent has another address than the controller was told.
    async fn has_moved(&self) -> bool {
        let now = self.member.address().await;
        let moved = now != self.told;
        if moved {
            tracing::info!(from = self.told, to = now, "the agent has another address; it registers again");
        }
        moved
    }

    async fn beat(&mut self) -> Result<(), Failure> {
        let member = self.member.clone();
        let counts = &member.counts;
        counts.beats.fetch_add(1, Ordering::Relaxed);
        let said = self.say_so().await;
        match &said {
            Ok(()) => self.member.acknowledged(),
            Err(_) => {
                counts.beats_failed.fetch_add(1, Ordering::Relaxed);
            }
        }
        said
    }

    async fn say_so(&mut self) -> Result<(), Failure> {
        let (id, Load { active_jobs, usage, data_plane }) = (self.member.id(), (self.load)());
        let data_plane = data_plane.and_then(|plane| news(plane, self.registered, self.acknowledged));
        let beat = Heartbeat {
            agent_id: &id,
            status: "online",
            active_jobs,
            resource_usage: usage,
            data_plane_ip: data_plane,
            docker_snapshotter_mode: None,
        };
        let said: Acknowledged = self.caller.post(&format!("/agents/{id}/heartbeat"), &beat, BEAT_LIMIT).await?;
        if said.acknowledged == Some(false) {
            return Err(Failure::Unusable("that it does not acknowledge the heartbeat".to_owned()));
        }
        self.acknowledged = data_plane.or(self.acknowledged);
        Ok(())
    }
}

/// The address of tunnels as far as the controller has to be told. Of what it has provisioned since it registered the agent it keeps
/// the books itself, with what each interface is for: it would be told another one than it has chosen.
fn news(plane: DataPlane, registered: SystemTime, acknowledged: Option<IpAddr>) -> Option<IpAddr> {
    let knows = plane.by == WantedBy::Provisioned && plane.since > registered;
    (!knows && acknowledged != Some(plane.address)).then_some(plane.address)
}

/// Waits until there is another way to others; one that is gone leads nowhere, and nobody could be told. Cancel-safe.
async fn next_way(way_out: &mut Option<watch::Receiver<Option<WayOut>>>) {
    let Some(ways) = way_out else { return std::future::pending().await };
    loop {
        if ways.changed().await.is_err() {
            return std::future::pending().await;
        }
        if ways.borrow_and_update().is_some() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_tunnels_is_told_once_and_not_when_the_controller_itself_has_just_provisioned_it() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let (address, other) = ("10.0.0.5".parse().unwrap(), "10.0.0.6".parse().ok());
        let told = |by, since, acknowledged| news(DataPlane { address, by, since: at(since) }, at(100), acknowledged);
        for by in [WantedBy::Configured, WantedBy::Fetched] {
            assert_eq!((told(by, 200, None), told(by, 200, other)), (Some(address), Some(address)));
        }
        // It has forgotten what it had before it registered the agent.
        assert_eq!(told(WantedBy::Provisioned, 50, None), Some(address));
        assert_eq!((told(WantedBy::Provisioned, 200, None), told(WantedBy::Provisioned, 200, other)), (None, None));
        for by in [WantedBy::Configured, WantedBy::Provisioned, WantedBy::Fetched] {
            assert_eq!(told(by, 50, Some(address)), None);
        }
    }
}
