//! Tests of the deployed server as users run it: real processes, real TCP, real files, `kill -9`.
#![cfg(not(madsim))]

mod cluster;
mod commands;
mod damage;
mod directories;
mod hostile;
mod kill;
mod quorums;
mod stop;
