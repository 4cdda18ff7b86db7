//! The network: a bridge of the lab host with taps, an address by DHCP, echoes and pages, by vhost-net and without.

use std::error::Error;
use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use support::{Process, run, wait_until};

use crate::Facts;
use crate::guest::{DEADLINE, Files};

/// A bridge of the lab host, which has its first address.
pub struct Bridge {
    name: String,
}

/// Changes the lab host's network.
pub fn ip(arguments: &str) -> Result<(), Box<dyn Error>> {
    run(Command::new("ip").args(arguments.split(' ')))?;
    Ok(())
}

impl Bridge {
    pub fn new(name: &str, address: &str) -> Result<Self, Box<dyn Error>> {
        // With an address of its own: else it has the lowest of its taps', another one with each tap that has a lower one, and the guests go on
        // sending to the one before.
        ip(&format!("link add {name} address 02:00:00:00:00:01 type bridge"))?;
        ip(&format!("addr add {address} dev {name}"))?;
        ip(&format!("link set {name} up"))?;
        Ok(Self {
            name: name.to_owned(),
        })
    }

    /// A tap on it, which outlives who attaches to it.
    pub fn tap(&self, name: &str) -> Result<String, Box<dyn Error>> {
        self.tap_with(name, "vnet_hdr")
    }

    /// The same with several queues.
    pub fn tap_of_several(&self, name: &str) -> Result<String, Box<dyn Error>> {
        self.tap_with(name, "vnet_hdr multi_queue")
    }

    fn tap_with(&self, name: &str, flags: &str) -> Result<String, Box<dyn Error>> {
        ip(&format!("tuntap add dev {name} mode tap {flags}"))?;
        ip(&format!("link set {name} master {} up", self.name))?;
        Ok(name.to_owned())
    }
}

/// A guest with one interface on a tap.
pub fn config(tap: &str, number: u32, vhost: bool) -> Value {
    json!({"networks": [{
        "id": "net",
        "mac": format!("52:54:00:00:01:{number:02x}"),
        "backend": {"tap": {"name": tap, "vhost": vhost}},
    }]})
}

/// Each of the two ways that frames go: an address by DHCP, an echo, a page in both directions.
pub fn dhcp_ping_and_pages(files: &Files) -> Facts {
    let bridge = Bridge::new("pond0", "10.77.0.1/24")?;
    let place = Files::place("network")?;
    let pages = place.file("pages");
    fs::create_dir_all(&pages)?;
    fs::write(pages.join("page"), vec![b'p'; 3 << 20])?;
    let log = place.file("dnsmasq.log");
    let mut dnsmasq = Command::new("dnsmasq");
    dnsmasq
        .args([
            "--no-daemon",
            "--conf-file=/dev/null",
            "--bind-interfaces",
            "--interface=pond0",
        ])
        .args([
            "--except-interface=lo",
            "--dhcp-range=10.77.0.100,10.77.0.150",
            "--log-dhcp",
            "--user=root",
        ])
        .args(["--no-resolv", "--address=/pond.test/10.77.0.1"])
        .arg(format!("--dhcp-leasefile={}", place.file("leases").display()));
    let dnsmasq = Process::start("dnsmasq", &mut dnsmasq, &log)?;
    let mut httpd = Command::new("busybox");
    httpd
        .args(["httpd", "-f", "-p", "10.77.0.1:80", "-h"])
        .arg(&pages);
    let _httpd = Process::start("httpd", &mut httpd, &place.file("httpd.log"))?;
    let mut facts = json!({});
    for (number, (name, vhost)) in (1..).zip([("kernel", true), ("monitor", false)]) {
        let tap = bridge.tap(&format!("pond0{name}"))?;
        facts[name] = one_guest(files, name, &config(&tap, number, vhost))?;
    }
    facts["leases"] = dnsmasq.log().matches("DHCPACK").count().into();
    Ok(facts)
}

fn one_guest(files: &Files, name: &str, config: &Value) -> Facts {
    let mut guest = files.start(&format!("network-{name}"), config)?;
    guest.run("ip link set eth0 up; udhcpc -n -q -t 20 -i eth0 -s /bin/dhcp-script 2>&1")?;
    let address = guest.run("ip -4 addr show eth0 | awk '/inet / {print $2}'")?;
    let ping = guest.run("ping -c 5 -i 0.2 -w 60 10.77.0.1 | grep received")?;
    let name = guest.run("nslookup pond.test 10.77.0.1 2>&1 | grep -c 10.77.0.1")?;
    let page = guest.number("wget -q -O - http://10.77.0.1/page | wc -c")?;
    guest.run("mkdir -p /tmp/www && echo a pond >/tmp/www/index.html && httpd -p 80 -h /tmp/www")?;
    let host = address.split('/').next().unwrap_or_default().to_owned();
    let url = format!("http://{host}/");
    let served = wait_until("the guest serves its page", DEADLINE, || {
        run(Command::new("curl").args(["--silent", "--fail", "--max-time", "10", &url])).ok()
    })?;
    Ok(json!({
        "address": address,
        "ping": ping,
        "resolves": name,
        "page_bytes": page,
        "served": served.trim(),
        "stats": guest.stats()?["networks"]["net"],
        "log": guest.log(),
    }))
}
