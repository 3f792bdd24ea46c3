//! Limits of a host as a table.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use netloom_plan::{HostLimits, Level, Limit};

use crate::driver::{DriverError, ErrorClass};
use crate::limits::Limits;

#[derive(Debug, Default)]
struct State {
    /// Limits that no sysctl holds, and what is in use of all.
    levels: BTreeMap<Limit, Level>,
    sysctls: BTreeMap<String, u64>,
    refusing: Option<String>,
}

/// The limits of a host that does not say any until it is told to; clones are the same host.
#[derive(Debug, Clone, Default)]
pub struct FakeLimits {
    state: Arc<Mutex<State>>,
}

impl FakeLimits {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the host has this limit, and this of it is in use.
    pub fn has(&self, limit: Limit, max: u64, used: u64) {
        let mut state = self.lock();
        state.levels.insert(limit, Level { max, used, place: None });
        if let Some(sysctl) = limit.sysctl() {
            state.sysctls.insert(sysctl.to_owned(), max);
        }
        for (companion, fraction) in limit.companions() {
            state.sysctls.insert((*companion).to_owned(), max / fraction);
        }
    }

    /// Somebody sets a sysctl by hand, or the machine was started anew.
    pub fn put(&self, sysctl: &str, value: u64) {
        self.lock().sysctls.insert(sysctl.to_owned(), value);
    }

    /// The present value of a sysctl.
    pub fn value(&self, sysctl: &str) -> u64 {
        self.lock().sysctls[sysctl]
    }

    /// From now on nothing can be set, or it can again.
    pub fn refuse(&self, cause: Option<&str>) {
        self.lock().refusing = cause.map(str::to_owned);
    }
}

#[async_trait]
impl Limits for FakeLimits {
    async fn read(&self) -> Result<HostLimits, DriverError> {
        let state = self.lock();
        let mut host = HostLimits { companions: state.sysctls.clone(), ..HostLimits::default() };
        for (limit, level) in &state.levels {
            let max = limit.sysctl().and_then(|sysctl| state.sysctls.get(sysctl)).copied().unwrap_or(level.max);
            host.levels.insert(*limit, Level { max, ..level.clone() });
        }
        Ok(host)
    }

    async fn get(&self, sysctl: &str) -> Result<u64, DriverError> {
        self.lock().sysctls.get(sysctl).copied().ok_or_else(|| failed("read", sysctl, "there is no such sysctl"))
    }

    async fn set(&self, sysctl: &str, value: u64) -> Result<(), DriverError> {
        let mut state = self.lock();
        if let Some(cause) = &state.refusing {
            return Err(failed("set", sysctl, cause));
        }
        state.sysctls.insert(sysctl.to_owned(), value);
        Ok(())
    }
}

fn failed(operation: &str, sysctl: &str, cause: &str) -> DriverError {
    DriverError {
        operation: operation.to_owned(),
        object: sysctl.to_owned(),
        backend: "fake".to_owned(),
        cause: cause.to_owned(),
        hint: None,
        class: ErrorClass::Permanent,
    }
}
