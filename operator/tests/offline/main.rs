//! The operator without a cluster: definitions, admission, validation, what is built. One binary, since each links all of
//! kube.

#[cfg(test)]
mod admission;
#[cfg(test)]
mod attach;
#[cfg(test)]
mod cel;
#[cfg(test)]
mod commands;
#[cfg(test)]
mod config;
#[cfg(test)]
mod crds;
#[cfg(test)]
mod examples;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod start;
#[cfg(test)]
mod validate;
