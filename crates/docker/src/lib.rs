//! A client of the Docker Engine API over a unix socket.
//!
//! For programs that must go on when the daemon does not: each call has a deadline and is told to an [`Observer`], each
//! answer has a limit, and what is unknown is said to be unknown. Not for building images, swarms, plugins or
//! registries that want a password, and not for daemons of other hosts.
//!
//! ```text
//!   Docker (clones share one pool) ── call: deadline, count ──▶ link ⇄ daemon
//!                                                                └─ one connection, driven by who waits for it: no task
//! ```
//!
//! The only task is one that closes connections at rest; it ends with them. The version of the API, from 1.41 (Docker
//! 20.10) to 1.47, is agreed on in the first call, and again after the daemon was lost.
//!
//! ```no_run
//! use std::sync::Arc;
//! use std::time::{Duration, Instant};
//!
//! use netloom_docker::{Docker, Endpoint, Filters};
//!
//! # async fn shown() -> Result<(), Box<dyn std::error::Error>> {
//! let docker = Docker::new(Endpoint::from_env()?, Arc::new(()));
//! let deadline = Instant::now() + Duration::from_secs(5);
//! for container in docker.list_containers(&Filters::new().label("netloom.lab=ospf"), deadline).await? {
//!     println!("{} is {}", container.plain_name().unwrap_or(&container.id), container.state);
//! }
//! # Ok(())
//! # }
//! ```

mod archive;
mod body;
mod container;
mod daemon;
mod docker;
mod endpoint;
mod error;
mod events;
mod filters;
mod frames;
mod image;
mod lenient;
mod lines;
mod link;
mod logs;
mod network;
mod observe;
mod pool;
mod reply;
mod session;
mod stats;
mod target;
mod time;
mod volume;

pub use archive::{PathKind, PathStat, PutOptions};
pub use body::ByteStream;
pub use container::{
    BindOptions, Check, Config, Container, ContainerSpec, ContainerSummary, ContainerUpdate, Created, DeviceMapping,
    DeviceRequest, Health, Healthcheck, HostConfig, HostSettings, LogConfig, MountPoint, MountSpec, NetworkSettings,
    NetworkingConfig, PortBinding, Remove, RestartPolicy, State, SummaryHost, SummaryNetworks, Ulimit,
};
pub use daemon::{Info, Version};
pub use docker::Docker;
pub use endpoint::{Endpoint, EndpointError};
pub use error::{Error, ErrorKind, Result};
pub use events::{Actor, Event, Events};
pub use filters::Filters;
pub use frames::{Frame, Frames};
pub use image::{Image, ImageConfig, ImageSummary, Pruned, Pull, PullEvent, RemoveImage, Removed};
pub use logs::LogOptions;
pub use network::{
    CreatedNetwork, Disconnect, EndpointAddresses, EndpointSettings, Ipam, Network, NetworkMember, NetworkSpec, Subnet,
};
pub use observe::{Observer, Status};
pub use session::{Attached, Exec, ExecInput, ExecSpec, ExecState, TerminalSize};
pub use stats::{CpuStats, CpuUsage, InterfaceStats, MemoryStats, PidsStats, Stats};
pub use volume::Volume;
