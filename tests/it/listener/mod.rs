//! The listener, over real sockets: protocols, deadlines, floods and messages with two readings.

mod floods;
mod http1;
mod http2;
mod lifecycle;
mod served;
mod smuggling;
