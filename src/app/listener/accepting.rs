//! Errors of accepting.

use std::{io, net::SocketAddr};

use rustix::io::Errno;
use tokio::net::{TcpListener, TcpStream};

/// The source of connections.
pub trait Accept: Send + 'static {
    fn accept(&self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr)>> + Send;
}

impl Accept for TcpListener {
    fn accept(&self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr)>> + Send {
        Self::accept(self)
    }
}

/// The scope of an accept error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// One connection, which is gone; the next accept may succeed.
    OneConnection,
    /// The process or the system, mostly for lack of descriptors or memory: the next accept would fail as well.
    Everybody,
}

/// Linux reports errors of a new connection to accept(2); any client can cause them. An unknown error counts as one of the
/// process, since the loop would otherwise spin if it stayed.
pub(super) fn trouble(error: &io::Error) -> Trouble {
    match Errno::from_io_error(error) {
        Some(
            Errno::CONNABORTED
            | Errno::CONNRESET
            | Errno::TIMEDOUT
            | Errno::PROTO
            | Errno::NOPROTOOPT
            | Errno::OPNOTSUPP
            | Errno::NETDOWN
            | Errno::NETUNREACH
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
            | Errno::NONET
            | Errno::PIPE
            // A firewall rule.
            | Errno::PERM
            | Errno::INTR
            | Errno::AGAIN,
        ) => Trouble::OneConnection,
        _ => Trouble::Everybody,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::ACCEPT_RETRY_DELAY, Accept, Trouble, trouble};
    use crate::{app::listener, lifecycle::Lifecycle};
    use axum::Router;
    use rustix::io::Errno;
    use std::{collections::VecDeque, io, net::SocketAddr, sync::Mutex, time::Duration};
    use tokio::{net::TcpStream, time::Instant};

    #[test]
    fn only_what_the_process_lacks_is_everybodys_trouble() {
        for errno in [
            Errno::CONNABORTED,
            Errno::CONNRESET,
            Errno::PROTO,
            Errno::HOSTUNREACH,
            Errno::PERM,
            Errno::INTR,
        ] {
            assert_eq!(trouble(&errno.into()), Trouble::OneConnection, "{errno}");
        }
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::BADF] {
            assert_eq!(trouble(&errno.into()), Trouble::Everybody, "{errno}");
        }
        assert_eq!(trouble(&io::Error::other("no number")), Trouble::Everybody);
    }

    /// Fails in these ways, and then stops the service.
    struct Failing {
        errors: Mutex<VecDeque<Errno>>,
        lifecycle: Lifecycle,
    }

    impl Accept for Failing {
        async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
            let next = self.errors.lock().unwrap().pop_front();
            if let Some(error) = next {
                return Err(error.into());
            }
            self.lifecycle.stop_accepting.cancel();
            std::future::pending().await
        }
    }

    /// How much of the test's own time passes until so many errors are behind the loop.
    async fn spent_on(errno: Errno, times: usize) -> Duration {
        let lifecycle = Lifecycle::default();
        let failing = Failing {
            errors: Mutex::new(vec![errno; times].into()),
            lifecycle: lifecycle.clone(),
        };
        let limits = listener::ListenerLimits {
            header_read_timeout: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(1),
            max_connections: 1,
            max_connections_per_address: 1,
            proxies: Vec::new(),
        };
        let began = Instant::now();
        listener::serve(failing, Router::new(), limits, lifecycle, ()).await;
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_clients_error_delays_nobody_and_a_lack_waits_for_a_moment() {
        assert_eq!(spent_on(Errno::CONNABORTED, 500).await, Duration::ZERO);
        let lack = spent_on(Errno::MFILE, 3).await;
        assert!(
            lack >= 3 * ACCEPT_RETRY_DELAY && lack < 6 * ACCEPT_RETRY_DELAY,
            "{lack:?}"
        );
    }
}
