//! An address that can be given to another server: new connections go there, those that are open stay where they are.

use std::sync::{
    Arc,
    atomic::{AtomicU16, Ordering},
};

use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

pub struct Switch {
    port: u16,
    target: Arc<AtomicU16>,
    serving: JoinHandle<()>,
}

impl Switch {
    pub async fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let target = Arc::new(AtomicU16::new(target));
        let leads = Arc::clone(&target);
        let serving = tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let to = leads.load(Ordering::SeqCst);
                tokio::spawn(async move {
                    if let Ok(mut far) = TcpStream::connect(("127.0.0.1", to)).await {
                        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    }
                });
            }
        });
        Self { port, target, serving }
    }

    /// As PostgreSQL's clients are told of it.
    pub fn url(&self) -> String {
        format!("postgres://maple@127.0.0.1:{}/postgres", self.port)
    }

    pub fn set(&self, target: u16) {
        self.target.store(target, Ordering::SeqCst);
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
