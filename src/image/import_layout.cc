// SPDX-License-Identifier: Apache-2.0
#include "image/import_layout.h"

#include <algorithm>
#include <array>
#include <optional>

#include <fmt/format.h>

#include "base/printable.h"
#include "base/strings.h"
#include "image/import_texts.h"

namespace pinhole::image {
namespace {

constexpr std::size_t kShownName = 80;

constexpr const char* kOsRelease = "/etc/os-release";
constexpr const char* kInittab = "/etc/inittab";
constexpr const char* kEnvironment = "/etc/environment";
constexpr std::array kGrubs = {"/boot/grub/grub.cfg", "/boot/grub2/grub.cfg"};
constexpr const char* kSystemd = "/usr/lib/systemd/systemd";
constexpr const char* kOldSystemd = "/lib/systemd/systemd";
constexpr const char* kCloudInit = "/usr/bin/cloud-init";
constexpr const char* kCloudInitOff = "/etc/cloud/cloud-init.disabled";
constexpr const char* kGrowpart = "/usr/bin/growpart";
constexpr const char* kOpenRc = "/sbin/openrc";
constexpr const char* kInit = "/sbin/init";

/// Units that wait for a network, look for one at every boot, answer for names that the agent answers for, or look after a disk.
constexpr std::array kMasked = {
    "systemd-networkd-wait-online.service", "NetworkManager-wait-online.service",
    "ifupdown-wait-online.service", "networking.service", "systemd-resolved.service",
    "systemd-timesyncd.service", "chrony.service", "chronyd.service", "apt-daily.timer",
    "apt-daily-upgrade.timer", "apt-news.service", "motd-news.timer", "unattended-upgrades.service",
    "dnf-makecache.timer", "snapd.seeded.service",
    // Disks that live for long.
    "e2scrub_reap.service", "e2scrub_all.timer", "dpkg-db-backup.timer", "man-db.timer",
    "systemd-pstore.service"};
constexpr std::array kUnitFolders = {"/usr/lib/systemd/system", "/lib/systemd/system"};
constexpr const char* kOwnUnits = "/etc/systemd/system";

std::string unit(std::string_view folder, std::string_view name) {
  return fmt::format("{}/{}", folder, name);
}

/// The value of NAME=value or NAME="value" in os-release(5).
std::string os_value(std::string_view os_release, std::string_view name) {
  for (std::string_view line : split(os_release, '\n')) {
    line = trim(line);
    if (!line.starts_with(name) || line.size() <= name.size() || line[name.size()] != '=') continue;
    line.remove_prefix(name.size() + 1);
    if (line.size() >= 2 && (line.front() == '"' || line.front() == '\'') &&
        line.back() == line.front())
      line = line.substr(1, line.size() - 2);
    return printable(line, kShownName);
  }
  return {};
}

std::string_view init_text(const GuestFacts& facts) {
  switch (init_kind(facts)) {
    case InitKind::systemd:
      return "systemd";
    case InitKind::sysvinit:
      return facts.has(kOpenRc) ? "OpenRC with System V init" : "System V init";
    case InitKind::busybox:
      return facts.has(kOpenRc) ? "OpenRC with BusyBox" : "BusyBox init";
    case InitKind::none:
      break;
  }
  return "no init that is known";
}

bool has_cloud_init(const GuestFacts& facts) { return facts.has(kCloudInit); }

class Planner {
 public:
  Planner(const GuestFacts& facts, std::string agent, bool grown)
      : facts_(facts), agent_(std::move(agent)), grown_(grown) {}

  Preparation run() {
    add_agent();
    if (init_kind(facts_) == InitKind::systemd) for_systemd();
    if (init_kind(facts_) == InitKind::sysvinit || init_kind(facts_) == InitKind::busybox)
      for_inittab();
    for_cloud_init();
    for_names();
    for_boot_loader();
    if (!grown_ && !(has_cloud_init(facts_) && facts_.has(kGrowpart)))
      lacks("the root file system keeps its size: growpart and cloud-init are not both there");
    return std::move(plan_);
  }

 private:
  void file(std::string path, std::string content, unsigned mode = 0644) {
    plan_.changes.files.push_back(
        {.path = std::move(path), .content = std::move(content), .mode = mode});
  }
  void link(std::string path, std::string target) {
    plan_.changes.links.push_back({.path = std::move(path), .target = std::move(target)});
  }
  void did(std::string what) { plan_.prepared.push_back(std::move(what)); }
  void lacks(std::string what) { plan_.shortfall.push_back(std::move(what)); }

  void add_agent() {
    file("/usr/lib/pinhole/pinhole-agent", std::move(agent_), 0755);
    link("/usr/bin/pinhole-agent", "/usr/lib/pinhole/pinhole-agent");
  }

  void for_systemd() {
    file(unit(kOwnUnits, "pinhole-agent.service"), std::string(kAgentUnit));
    link(unit(kOwnUnits, "sysinit.target.wants/pinhole-agent.service"), "../pinhole-agent.service");
    file("/etc/modules-load.d/pinhole.conf", std::string(kModules));
    file("/etc/systemd/system.conf.d/50-pinhole.conf", std::string(kSystemConf));
    file("/etc/systemd/system/systemd-udev-trigger.service.d/50-pinhole.conf",
         std::string(kUdevTrigger));
    did("the agent, as a unit of systemd: pinhole-agent.service");
    std::string masked;
    for (const char* name : kMasked) {
      const bool there = std::ranges::any_of(
          kUnitFolders, [&](const char* folder) { return facts_.has(unit(folder, name)); });
      const bool own = facts_.has(unit(kOwnUnits, name));
      // What its maker put there himself, a file or a mask, stays.
      if (!there || own) continue;
      link(unit(kOwnUnits, name), "/dev/null");
      masked += (masked.empty() ? "" : ", ") + std::string(name);
    }
    if (!masked.empty()) did("masked: " + masked);
  }

  void for_inittab() {
    const bool busybox = init_kind(facts_) == InitKind::busybox;
    std::string table = facts_.text(kInittab);
    if (!table.ends_with('\n')) table += '\n';
    const std::string line =
        fmt::format("{}:respawn:/usr/lib/pinhole/start\n", busybox ? ":" : "ph:12345");
    if (!table.contains(line)) table += "# pinhole: the machine's one door\n" + line;
    file(kInittab, std::move(table));
    file("/usr/lib/pinhole/start", std::string(kStartScript), 0755);
    did("the agent, started by /etc/inittab");
  }

  void for_cloud_init() {
    if (!has_cloud_init(facts_)) {
      lacks("there is no cloud-init: user-data does nothing, and your user is not made");
      return;
    }
    std::string text(kCloudConfig);
    if (grown_) text += kCloudNoGrowth;
    file("/etc/cloud/cloud.cfg.d/zz-pinhole.cfg", std::move(text));
    file("/etc/cloud/ds-identify.cfg", std::string(kDsIdentify));
    if (facts_.has(kCloudInitOff)) plan_.changes.removed.emplace_back(kCloudInitOff);
    did("cloud-init: the seed is its one source, and it configures no network");
  }

  void for_names() {
    file("/etc/resolv.conf", "nameserver 127.0.0.1\n");
    std::string environment = facts_.text(kEnvironment);
    if (!environment.empty() && !environment.ends_with('\n')) environment += '\n';
    if (!to_lower(environment).contains("http_proxy=")) environment += kEnvironmentLines;
    file(kEnvironment, std::move(environment));
    file("/etc/profile.d/pinhole-proxy.sh", std::string(kProfile));
    did("names and proxy: the agent's, on loopback");
  }

  void for_boot_loader() {
    for (const char* path : kGrubs) {
      const std::string before = facts_.text(path);
      if (before.empty()) continue;
      std::string after = quick_grub(before);
      if (after == before) continue;
      file(path, std::move(after), facts_.entries.at(path).mode);
      did("GRUB: no waiting for a key, and kernel lines on the serial port");
    }
  }

  const GuestFacts& facts_;
  std::string agent_;
  bool grown_;
  Preparation plan_;
};

}  // namespace

std::vector<std::string> paths_to_look_at() {
  std::vector<std::string> paths = {
      kOsRelease, kInittab, kEnvironment, kSystemd,       kOldSystemd, kCloudInit, kCloudInitOff,
      kGrowpart,  kOpenRc,  kInit,        "/bin/busybox", "/etc",      "/usr",     "/boot"};
  paths.insert(paths.end(), kGrubs.begin(), kGrubs.end());
  for (const char* name : kMasked) {
    for (const char* folder : kUnitFolders) paths.push_back(unit(folder, name));
    paths.push_back(unit(kOwnUnits, name));
  }
  return paths;
}

std::vector<std::string> texts_to_read() {
  return {kOsRelease, kInittab, kEnvironment, kGrubs[0], kGrubs[1]};
}

InitKind init_kind(const GuestFacts& facts) {
  const auto init = facts.entries.find(kInit);
  const std::string target = init == facts.entries.end() ? "" : init->second.target;
  if (target.ends_with("/systemd")) return InitKind::systemd;
  const bool has_inittab = facts.has(kInittab);
  if (target.contains("busybox")) return has_inittab ? InitKind::busybox : InitKind::none;
  if (facts.has(kInit) && has_inittab) return InitKind::sysvinit;
  if (facts.has(kSystemd) || facts.has(kOldSystemd)) return InitKind::systemd;
  return InitKind::none;
}

std::string layout_text(const GuestFacts& facts) {
  std::string name = os_value(facts.text(kOsRelease), "PRETTY_NAME");
  if (name.empty()) name = "a Linux without a name";
  return fmt::format("{}, {}{}", name, init_text(facts),
                     has_cloud_init(facts) ? ", cloud-init" : "");
}

Preparation prepare_guest(const GuestFacts& facts, std::string agent, bool grown) {
  return Planner(facts, std::move(agent), grown).run();
}

bool has_grub_configuration(const GuestFacts& facts) {
  return std::ranges::any_of(kGrubs, [&](const char* path) { return !facts.text(path).empty(); });
}

std::string quick_grub(std::string_view grub_cfg) {
  constexpr std::string_view kSerial = " console=ttyS0,115200";
  std::string out;
  for (const std::string_view line : split(grub_cfg, '\n')) {
    const std::string_view words = trim(line);
    std::string changed(line);
    if (words.starts_with("set timeout=") && words != "set timeout=0")
      changed = std::string(line.substr(0, line.find("set "))) + "set timeout=0";
    const bool is_kernel = words.starts_with("linux\t") || words.starts_with("linux ") ||
                           words.starts_with("linuxefi ") || words.starts_with("linuxefi\t");
    if (is_kernel && !words.contains("console=ttyS0")) changed += kSerial;
    out += changed + '\n';
  }
  out.pop_back();  // split() gives what is behind the last line's end, too
  return out;
}

std::string tools_setup() {
  return fmt::format(fmt::runtime(kToolsSetup), fmt::arg("unit", kAgentUnit),
                     fmt::arg("modules", kModules));
}
std::string tools_boothook() { return std::string(kToolsHook); }

}  // namespace pinhole::image
