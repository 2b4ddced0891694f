//! A way to a server that takes its time, both ways.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    task::JoinHandle,
    time::Instant,
};

pub struct Far {
    port: u16,
    paused_until: Arc<Mutex<Instant>>,
    serving: JoinHandle<()>,
}

impl Far {
    /// Before the server at `url` (`redis://127.0.0.1:port`), each way takes `delay`.
    pub async fn start(url: &str, delay: Duration) -> Self {
        let target = url.rsplit('/').next().unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let paused_until = Arc::new(Mutex::new(Instant::now()));
        let paused = Arc::clone(&paused_until);
        let serving = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(&target).await else {
                    continue;
                };
                for end in [&near, &far] {
                    end.set_nodelay(true).unwrap();
                }
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                tokio::spawn(carry(near_in, far_out, delay, Arc::clone(&paused)));
                tokio::spawn(carry(far_in, near_out, delay, Arc::clone(&paused)));
            }
        });
        Self {
            port,
            paused_until,
            serving,
        }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// What comes within `span` arrives at its end.
    pub fn pause(&self, span: Duration) {
        *self.paused_until.lock().unwrap() = Instant::now() + span;
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration, paused: Arc<Mutex<Instant>>) {
    let (sender, mut receiver) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    tokio::spawn(async move {
        while let Some((due, bytes)) = receiver.recv().await {
            tokio::time::sleep_until(due).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let due = (Instant::now() + delay).max(*paused.lock().unwrap());
        if sender.send((due, buffer[..read].to_vec())).is_err() {
            return;
        }
    }
}
