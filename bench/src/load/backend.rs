//! The TCP service behind the proxy.

use std::rc::Rc;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::endpoint::{End, Endpoint, Wire};
use super::{Budget, World};
use crate::Result;
use crate::traffic::{GREETING, Receiver, Sender};

/// Accepts until it is dropped.
pub(super) async fn serve(listener: TcpListener, world: Rc<World>) {
    let mut tasks = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((tcp, _)) => {
                let world = Rc::clone(&world);
                tasks.spawn_local(async move {
                    world.backends.set(world.backends.get() + 1);
                    if let Err(error) = run(tcp, &world).await {
                        world.fail(&format_args!("backend: {error}"));
                    }
                    world.backends.set(world.backends.get() - 1);
                });
            }
            Err(error) => world.fail(&error),
        }
        while tasks.try_join_next().is_some() {}
    }
}

/// Greets, learns the session, then sends and receives until the proxy closes.
async fn run(tcp: TcpStream, world: &World) -> Result<()> {
    tcp.set_nodelay(true)?;
    let load = &world.load;
    // The session is not known yet: only the greeting, which is the same for all, is written with this sender.
    let tx = Sender::downlink(load.framing, load.size, 0);
    let rx = Receiver::at_backend(load.framing, load.size);
    let mut end = Endpoint::new(tcp, Wire::Plain, load, tx, rx);
    end.open(GREETING)?;
    let mut none = Budget::NONE;
    let known = |end: &Endpoint| end.rx.opened().is_some();
    if end.drive(&mut none, &world.up_bytes, known).await? == End::Closed {
        return Ok(());
    }
    let session = end.rx.opened().unwrap_or_default();
    end.tx = Sender::downlink(load.framing, load.size, session);
    world.numbered.set(world.numbered.get() + 1);

    let mut go = world.go.subscribe();
    let mut budget = Budget {
        refill: load.down.refill,
        ..Budget::NONE
    };
    tokio::select! {
        ended = end.drive(&mut budget, &world.up_bytes, |_| false) => return ended.map(drop),
        _ = go.wait_for(|go| *go) => {}
    }
    // What came before the start has left its credit.
    budget.credit = budget.credit.saturating_add(load.down.credit);
    end.drive(&mut budget, &world.up_bytes, |_| false).await.map(drop)
}
