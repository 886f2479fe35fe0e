//! Processes and power: how a machine's software ends and begins.

use turmoil::Sim;

use super::cluster::Cluster;
use super::links::Links;
use super::network::Farewell;
use crate::dice::Dice;

/// Whatever does something to the cluster from outside, between two steps.
pub(super) struct Hands<'a> {
    pub(super) sim: &'a mut Sim<'static>,
    pub(super) cluster: &'a Cluster,
    pub(super) links: &'a mut Links,
    pub(super) dice: &'a mut Dice,
}

impl Hands<'_> {
    /// The power goes: whatever was not synced is gone, except that a half-written tail may have got through. Nobody hears
    /// a farewell.
    pub(super) fn cut_power(&mut self, place: usize) {
        let machine = &self.cluster.machines[place];
        let process = machine.ends();
        // The disk first: what the dying process still tries to write must not reach it.
        machine.disk.lose_power(self.dice.chance(50));
        self.cluster.wires.unplug(machine.host, Farewell::Silence);
        self.sim.crash(machine.host);
        drop(process);
        self.cluster.tell(format!("{} loses power", machine.host));
    }

    /// The process is killed; the machine lives on: what was written is there, and connections are closed.
    pub(super) fn kill(&mut self, place: usize) {
        let machine = &self.cluster.machines[place];
        let process = machine.ends();
        self.cluster.wires.unplug(machine.host, Farewell::Reset);
        self.sim.crash(machine.host);
        drop(process);
        self.cluster.tell(format!("{} is killed", machine.host));
    }

    /// A process begins, if none runs.
    pub(super) fn start(&mut self, place: usize) {
        let machine = &self.cluster.machines[place];
        if !machine.is_on() {
            self.cluster.tell(format!("{} starts", machine.host));
            // One that refused to start is still there, and does nothing.
            self.cluster.wires.unplug(machine.host, Farewell::Reset);
            self.sim.crash(machine.host);
            self.sim.bounce(machine.host);
        }
    }
}
