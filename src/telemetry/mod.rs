//! What the node tells about itself: metrics, log lines, and that it must stop.

mod fatal;
mod logging;
mod meters;

pub use self::{
    fatal::FatalSwitch,
    logging::{LoggingError, start_logging},
    meters::{Disposition, Meters, StreamMeters},
};
