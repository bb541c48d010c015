// SPDX-License-Identifier: Apache-2.0
// pinhole-hostile-guest: what the guest's root can do to the host by way of the vsock device. Runs
// in the guest, as root, with nothing but the kernel. Each attack is a line:
//
//   descriptor-loop: survived (sent 4, received 2, 31 ms)
//
// and after each the device is reset and must serve an honest driver again, or the line says "the
// door is shut" and the status is 1. No attack ends pinhole-vsockd; some end QEMU, and with it the
// attacker's own VM, and are made only when named.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "base/strings.h"
#include "pci_machine.h"
#include "register_attacks.h"
#include "vhost/testing/attacks.h"

namespace {

using namespace pinhole;
using namespace pinhole::hostile;
using std::chrono::milliseconds;
using vhost::testing::Attack;
using vhost::testing::HostileDriver;

constexpr std::string_view kUsage =
    R"(usage: pinhole-hostile-guest [--seed N] [--milliseconds N] [--rebind] [--list] [ATTACK…]

  --seed N            of what is random (default 1)
  --milliseconds N    how long an attack that repeats goes on (default 1000)
  --rebind            give the device back to the kernel's driver at the end
  --list              the attacks, and nothing else

Without ATTACK: all but those that end the VM.
)";

struct Options {
  std::uint32_t seed = 1;
  milliseconds length{1000};
  bool rebind = false;
  bool list = false;
  std::vector<std::string_view> names;
};

Result<Options> parse(std::span<const std::string_view> args) {
  Options options;
  for (std::size_t i = 0; i < args.size(); ++i) {
    const bool takes_number = args[i] == "--seed" || args[i] == "--milliseconds";
    if (takes_number) {
      const auto number = i + 1 < args.size() ? parse_u64(args[i + 1]) : std::nullopt;
      if (!number || *number > 1'000'000'000) return fail("{} needs a number", args[i]);
      if (args[i] == "--seed") options.seed = static_cast<std::uint32_t>(*number);
      if (args[i] == "--milliseconds") options.length = milliseconds(*number);
      ++i;
    } else if (args[i] == "--rebind") {
      options.rebind = true;
    } else if (args[i] == "--list") {
      options.list = true;
    } else if (args[i].starts_with("-")) {
      return fail("unknown option {}", args[i]);
    } else {
      options.names.push_back(args[i]);
    }
  }
  return options;
}

/// Every attack as one kind of thing.
struct Entry {
  std::string_view name;
  std::string_view what;
  std::function<void(PciMachine&, HostileDriver&, HostileDriver::Clock::time_point)> act;
  bool ends_qemu = false;
};

std::vector<Entry> all_attacks() {
  std::vector<Entry> entries;
  for (const auto list : {vhost::testing::ring_attacks(), vhost::testing::packet_attacks()}) {
    for (const Attack& attack : list) {
      entries.push_back({attack.name, attack.what,
                         [act = attack.act](PciMachine&, HostileDriver& driver, auto until) {
                           act(driver, until);
                         }});
    }
  }
  for (const RegisterAttack& attack : register_attacks()) {
    entries.push_back({attack.name, attack.what, attack.act, attack.ends_qemu});
  }
  return entries;
}

Result<std::vector<Entry>> chosen(const Options& options) {
  std::vector<Entry> entries = all_attacks();
  if (options.names.empty()) {
    std::erase_if(entries, [](const Entry& entry) { return entry.ends_qemu; });
    return entries;
  }
  std::vector<Entry> some;
  for (const std::string_view name : options.names) {
    const auto found = std::ranges::find(entries, name, &Entry::name);
    if (found == entries.end()) return fail("there is no attack \"{}\"", name);
    some.push_back(*found);
  }
  return some;
}

bool run_attack(const Entry& entry, PciMachine& machine, const Options& options) {
  // Long enough for a host program whose queue the attack has filled, and for its connections'
  // timers.
  constexpr std::chrono::seconds kPatience{30};
  HostileDriver driver(machine, machine.guest_cid(), options.seed);
  const auto begin = HostileDriver::Clock::now();
  entry.act(machine, driver, begin + options.length);
  driver.stop();
  const std::uint64_t sent = driver.sent;
  const std::uint64_t received = driver.received;
  const auto attacked = HostileDriver::Clock::now();
  const bool open = driver.door_answers(kPatience);
  driver.stop();
  const auto ms = [](auto span) { return std::chrono::duration_cast<milliseconds>(span).count(); };
  std::printf("%.*s: %s (sent %lu, received %lu, %ld ms; then %ld ms)\n",
              static_cast<int>(entry.name.size()), entry.name.data(),
              open ? "survived" : "the door is shut", sent, received, ms(attacked - begin),
              ms(HostileDriver::Clock::now() - attacked));
  std::fflush(stdout);
  return open;
}

Result<int> run(const Options& options) {
  PINHOLE_TRY(const auto attacks, chosen(options));
  if (options.list) {
    for (const Entry& entry : attacks) {
      std::printf("%-24s %s%s\n", std::string(entry.name).c_str(), std::string(entry.what).c_str(),
                  entry.ends_qemu ? " (only when named: it ends this VM)" : "");
    }
    return 0;
  }
  PINHOLE_TRY(const PciDevice device, find_vsock_device());
  PINHOLE_TRY_VOID(unbind(device));
  int shut = 0;
  {
    PINHOLE_TRY(const auto machine, PciMachine::open(device));
    std::printf("%s, CID %lu, seed %u\n", device.slot.c_str(), machine->guest_cid(), options.seed);
    for (const Entry& entry : attacks) shut += run_attack(entry, *machine, options) ? 0 : 1;
  }
  if (options.rebind) PINHOLE_TRY_VOID(bind(device));
  std::printf("done: %zu attacks, %d shut the door\n", attacks.size(), shut);
  return shut == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string_view> args(argv + 1, argv + argc);
  const auto options = parse(args);
  if (!options) {
    std::fputs(format_error("pinhole-hostile-guest", options.error()).c_str(), stderr);
    std::fputs(std::string(kUsage).c_str(), stderr);
    return 2;
  }
  const auto status = run(*options);
  if (!status) {
    std::fputs(format_error("pinhole-hostile-guest", status.error()).c_str(), stderr);
    return 3;
  }
  return *status;
}
