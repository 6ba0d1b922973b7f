//! The doors with a played appliance behind them and real peers in front, friendly and hostile.

mod agents;
mod backups;
mod hostile;
mod memory;
mod operator;
mod played;
mod reading;
mod web;
