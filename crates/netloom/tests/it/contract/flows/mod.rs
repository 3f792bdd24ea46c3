//! The flows that were recorded between the real controller and an agent, with real containers and a real switch.

mod after_boot;
mod configs;
mod console;
mod devices;
mod external;
mod faults;
mod images;
mod input;
mod joins;
mod lives;
mod one_host;
mod per_node;
mod plugged;
mod queries;
mod restarts;
mod seized;
mod takeover;
mod two_hosts;
mod two_labs;
