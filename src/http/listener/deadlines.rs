//! Deadlines of one connection that no engine keeps: a slow request head, and a client that stops taking bytes.
//!
//! One timer serves both. It is made when something first has to be waited for and never rewound on the fast
//! path: it may fire early, looks at the clock, and is set again.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use super::ListenerOptions;

/// Which deadline has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    Head,
    Write,
}

/// What the connection waits for, since when, and for how long at most.
pub(super) struct Deadlines {
    head: Duration,
    write: Duration,
    head_since: Option<Instant>,
    write_since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadlines {
    pub(super) fn new(options: &ListenerOptions) -> Deadlines {
        Deadlines {
            head: options.head,
            write: options.write_stall,
            head_since: None,
            write_since: None,
            timer: None,
        }
    }

    /// The first byte of a head has come.
    pub(super) fn head_began(&mut self) {
        self.head_since = Some(Instant::now());
    }

    /// A part of a head has come; the deadline stays where its first byte put it.
    pub(super) fn head_goes_on(&mut self) {
        self.head_since.get_or_insert_with(Instant::now);
    }

    /// The head is whole.
    pub(super) fn head_ended(&mut self) {
        self.head_since = None;
    }

    /// The client took bytes, or has to.
    pub(super) fn write_blocked(&mut self, blocked: bool) {
        if blocked {
            self.write_since.get_or_insert_with(Instant::now);
        } else {
            self.write_since = None;
        }
    }

    /// Ready when a deadline has passed; otherwise the task is woken in time to ask again.
    pub(super) fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<Overdue> {
        loop {
            let Some((at, what)) = self.next() else { return Poll::Pending };
            if self.timer.as_ref().is_some_and(|timer| timer.deadline() > at) {
                self.timer = None;
            }
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
            ready!(timer.as_mut().poll(cx));
            if at <= Instant::now() {
                return Poll::Ready(what);
            }
            timer.as_mut().reset(at);
        }
    }

    fn next(&self) -> Option<(Instant, Overdue)> {
        let head = self.head_since.map(|since| (since + self.head, Overdue::Head));
        let write = self.write_since.map(|since| (since + self.write, Overdue::Write));
        match (head, write) {
            (Some(head), Some(write)) => Some(if head.0 <= write.0 { head } else { write }),
            (head, write) => head.or(write),
        }
    }
}
