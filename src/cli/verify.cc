// SPDX-License-Identifier: Apache-2.0
#include "cli/verify.h"

#include <algorithm>
#include <fstream>

#include <fmt/ranges.h>
#include <boost/json.hpp>

#include "audit/verify.h"
#include "base/json.h"
#include "base/printable.h"
#include "base/sha256.h"
#include "base/strings.h"
#include "cli/agent_client.h"
#include "cli/terminal.h"
#include "config/paths.h"
#include "image/store.h"
#include "sys/files.h"
#include "sys/user.h"

namespace pinhole::cli {
namespace {

namespace json = boost::json;
using std::chrono::steady_clock;

constexpr std::string_view kCanaryBody = "pinhole canary\n";
constexpr std::size_t kShownEvidence = 300;

// Nothing may answer from there. 93.184.216.34 is a public web server; 198.18.0.1 is the guest's
// own.
constexpr std::pair<const char*, std::uint16_t> kForbidden[] = {
    {"93.184.216.34", 80}, {"1.1.1.1", 443},   {"2606:4700:4700::1111", 443}, {"10.0.2.2", 22},
    {"192.168.1.1", 80},   {"172.17.0.1", 80}, {"169.254.169.254", 80},
};

/// What is asked of the guest, in order; the indices name the replies.
struct Plan {
  explicit Plan(const std::string& token) {
    const auto add = [&](wire::Probe probe) {
      return probes.push_back(std::move(probe)), probes.size() - 1;
    };
    interfaces = add(wire::InterfacesProbe());
    first_connect = probes.size();
    for (const auto& [address, port] : kForbidden)
      add(wire::ConnectProbe{.address = address, .port = port});
    udp = add(wire::UdpProbe{.address = "1.1.1.1", .port = 53, .timeout_ms = 1000});
    vsock = add(wire::VsockProbe{
        .cids = {0, 2, 4},
        .ports = {1, 22, 80, 111, 439, 440, 441, 442, 443, 1024, 2375, 3128, 9999, 65535}});
    allowed = add(wire::FetchProbe{{.url = "http://canary.pinhole.internal/" + token}});
    first_denied = probes.size();
    for (const char* host :
         {"denied.pinhole.internal", "127.0.0.1:22", "169.254.169.254", "93.184.216.34"}) {
      add(wire::FetchProbe{{.url = fmt::format("http://{}/{}", host, token)}});
    }
    end_denied = probes.size();
    marker = add(wire::MarkerProbe());
  }
  std::vector<wire::Probe> probes;
  std::size_t interfaces, first_connect, udp, vsock, allowed, first_denied, end_denied, marker;
};

std::int64_t number_of(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->is_int64() ? value->get_int64() : -1;
}

const json::object& object_of(const json::object& object, std::string_view key) {
  static const json::object kEmpty;
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->is_object() ? value->get_object() : kEmpty;
}

/// Collects checks with the time that each took.
class Checks {
 public:
  void add(std::string name, bool ok, std::string_view evidence, std::uint64_t ms = 0) {
    checks_.push_back({.name = printable(name),
                       .ok = ok,
                       .evidence = printable(evidence, kShownEvidence),
                       .ms = ms});
  }
  /// Times `look`, which returns {ok, evidence}.
  template <typename Look>
  void timed(std::string name, Look look) {
    const auto started = steady_clock::now();
    const auto [ok, evidence] = look();
    const auto took =
        std::chrono::duration_cast<std::chrono::milliseconds>(steady_clock::now() - started);
    add(std::move(name), ok, evidence, static_cast<std::uint64_t>(took.count()));
  }
  std::vector<Check> take() { return std::move(checks_); }

 private:
  std::vector<Check> checks_;
};

using Finding = std::pair<bool, std::string>;

/// The value of `key` in the key=value lines of boot-ok.txt.
std::string marker_value(std::string_view content, std::string_view key) {
  for (const std::string_view line : split(content, '\n')) {
    if (line.starts_with(key) && line.substr(key.size()).starts_with('='))
      return std::string(line.substr(key.size() + 1));
  }
  return {};
}

/// What its import said.
bool lacks_cloud_init(const std::string& image_name) {
  const auto paths = config::user_paths();
  if (!paths) return false;
  const auto image = image::load_image(paths->images, image_name);
  return image && image->manifest.imported && !image->manifest.imported->may_have_cloud_init();
}

void check_boot(const Vm& vm, const json::object& facts, const wire::ProbeResult& guest_marker,
                Checks& checks) {
  const std::string nonce = text_of(facts, "nonce");
  checks.timed("boot marker", [&]() -> Finding {
    constexpr std::uint64_t kLargestMarker = 64 << 10;
    const auto content = sys::read_file(vm.paths.boot_ok, kLargestMarker);
    if (!content) return {false, content.error().message};
    const std::string found = marker_value(*content, "nonce");
    if (found != nonce)
      return {false, fmt::format("boot-ok.txt has nonce {}, this boot's is {}", found, nonce)};
    return {true, fmt::format("nonce {} of this boot, {}", found, marker_value(*content, "time"))};
  });
  const std::string inside = marker_value(guest_marker.evidence, "nonce");
  checks.add("boot marker, in the guest", guest_marker.ok && inside == nonce, "nonce " + inside,
             guest_marker.ms);
  if (text_of(facts, "boot") == "direct") return;  // there is no cloud-init
  const auto& stages = object_of(facts, "stages");
  const json::object& cloud_init = object_of(stages, "cloud-init");
  const std::string wanted = text_of(facts, "instance_id");
  const std::string reported = marker_value(guest_marker.evidence, "instance_id");
  const json::value* ok = cloud_init.if_contains("ok");
  if (lacks_cloud_init(text_of(facts, "image"))) {
    const std::string detail = text_of(cloud_init, "detail");
    checks.add("cloud-init is not in this image", detail == "absent", detail, 0);
    return;
  }
  checks.add("cloud-init ran this seed",
             ok != nullptr && ok->is_bool() && ok->get_bool() && reported == wanted,
             fmt::format("instance id {}; {}", reported, text_of(cloud_init, "detail")),
             static_cast<std::uint64_t>(std::max<std::int64_t>(0, number_of(cloud_init, "ms"))));
}

void check_inside(const Plan& plan, const std::vector<wire::ProbeResult>& results, Checks& checks) {
  const auto& interfaces = results[plan.interfaces];
  checks.add("inside: no interface but lo", interfaces.ok, interfaces.evidence, interfaces.ms);
  for (std::size_t i = plan.first_connect; i < plan.vsock; ++i) {
    checks.add("inside: " + wire::probe_name(plan.probes[i]), results[i].ok, results[i].evidence,
               results[i].ms);
  }
  checks.add("inside: every vsock port but ours", results[plan.vsock].ok,
             results[plan.vsock].evidence, results[plan.vsock].ms);
  const auto& allowed = results[plan.allowed];
  const bool good = allowed.ok && allowed.fetch && allowed.fetch->status == 200 &&
                    allowed.fetch->sha256 == sha256_hex(kCanaryBody);
  checks.add("door: the allowed canary", good, allowed.evidence, allowed.ms);
  for (std::size_t i = plan.first_denied; i < plan.end_denied; ++i) {
    const auto& denied = results[i];
    const bool refused =
        denied.ok && denied.fetch && denied.fetch->status == 403 &&
        (denied.fetch->code == "denied_by_policy" || denied.fetch->code == "ssrf_blocked");
    checks.add(
        "door: refused " + printable(std::get<wire::FetchProbe>(plan.probes[i]).task.url.substr(7)),
        refused, denied.evidence, denied.ms);
  }
}

Finding same_command(const json::object& facts, std::int64_t pid) {
  std::string planned;
  if (const json::value* words = facts.if_contains("planned_argv");
      words != nullptr && words->is_array()) {
    for (const json::value& word : words->get_array())
      planned += (word.is_string() ? std::string(word.get_string()) : "") + '\0';
  }
  const auto running = sys::read_file(fmt::format("/proc/{}/cmdline", pid), 1 << 20);
  if (!running) return {false, running.error().message};
  if (*running != planned) return {false, "the command that runs is not the one that was planned"};
  return {true, fmt::format("pid {}, {} arguments, none of them a network device", pid,
                            std::ranges::count(planned, '\0') - 1)};
}

/// A field of /proc/PID/status, which everybody may read.
std::string status_field(std::int64_t pid, std::string_view name) {
  const auto status = sys::read_file(fmt::format("/proc/{}/status", pid), 1 << 16);
  for (const std::string_view line : split(status ? *status : std::string(), '\n')) {
    if (line.starts_with(name) && line.substr(name.size()).starts_with(':'))
      return std::string(trim(line.substr(name.size() + 1)));
  }
  return {};
}

bool has_filter(std::int64_t pid) { return status_field(pid, "Seccomp") == "2"; }

Finding no_network(const json::object& facts, std::int64_t pid) {
  const auto devices = sys::read_file(fmt::format("/proc/{}/net/dev", pid), 1 << 16);
  if (!devices) return {false, devices.error().message};
  std::vector<std::string> names;
  for (const std::string_view line : split(*devices, '\n')) {
    if (const std::size_t colon = line.find(':'); colon != std::string_view::npos)
      names.emplace_back(trim(line.substr(0, colon)));
  }
  if (names == std::vector<std::string>{"lo"}) return {true, "a namespace with nothing but lo"};
  const bool known = text_of(facts, "confinement") != "full" && has_filter(pid);
  return {known, fmt::format("shares the host's namespace ({}){}", fmt::join(names, ", "),
                             known ? "; its system call filter refuses every socket" : "")};
}

/// What the kernel says of each process that has to do with the guest.
Finding all_confined(const json::object& facts) {
  const bool full = text_of(facts, "confinement") == "full";
  std::vector<std::string> names;
  for (const auto& [name, value] : object_of(facts, "processes")) {
    if (name == "supervisor" || !value.is_int64()) continue;
    const std::int64_t pid = value.get_int64();
    names.emplace_back(name);
    if (status_field(pid, "NoNewPrivs") != "1")
      return {false, fmt::format("{} may gain privileges", printable(name))};
    if (!has_filter(pid))
      return {false, fmt::format("{} has no system call filter", printable(name))};
    if (full && !status_field(pid, "NSpid").ends_with("\t1"))
      return {false, fmt::format("{} is not the first of a PID namespace", printable(name))};
  }
  return {!names.empty(), fmt::format("{}: no new privileges, system call filter{}",
                                      printable(fmt::format("{}", fmt::join(names, ", "))),
                                      full ? ", own namespaces" : " (confinement is not full)")};
}

/// The audit log's decisions about this run's canaries: exactly one for each.
Finding audit_matches(const Vm& vm, const std::string& token, std::size_t denials) {
  std::ifstream log(vm.paths.audit_log);
  std::string line;
  std::size_t allowed = 0, denied = 0;
  while (std::getline(log, line)) {
    if (!line.contains(token)) continue;
    boost::system::error_code error;
    const json::value record = json::parse(line, error);
    if (error || !record.is_object()) continue;
    const json::object& fields = record.get_object();
    const std::string kind = text_of(fields, "kind");
    const std::string action = text_of(fields, "action");
    if (kind == "decision" && action == "allow" && text_of(fields, "rule") == "builtin:canary")
      ++allowed;
    // An address is refused after a rule allowed its host: that exchange's end says so.
    if ((kind == "decision" && action == "deny") || text_of(fields, "code") == "ssrf_blocked")
      ++denied;
  }
  return {allowed == 1 && denied == denials,
          fmt::format("{} allowed, {} denied decisions about the canaries", allowed, denied)};
}

void check_outside(const Vm& vm, const Plan& plan, const std::string& token,
                   const json::object& before, const json::object& after, Checks& checks) {
  const auto network = number_of(after, "pci_network_devices");
  checks.add("outside: QEMU has no network device", network == 0,
             fmt::format("QMP: {} PCI functions, {} of them network controllers",
                         number_of(after, "pci_devices"), network));
  const auto pid = number_of(object_of(after, "processes"), "qemu");
  checks.timed("outside: what runs is what was planned", [&] { return same_command(after, pid); });
  checks.timed("outside: QEMU reaches no network", [&] { return no_network(after, pid); });
  checks.timed("outside: every process is confined", [&] { return all_confined(after); });
  checks.timed("outside: the audit log has each canary once",
               [&] { return audit_matches(vm, token, plan.end_denied - plan.first_denied); });
  checks.timed("outside: the audit chain", [&]() -> Finding {
    const auto summary = audit::verify_log(vm.paths.audit_log);
    if (!summary) return {false, summary.error().message};
    return {true, fmt::format("{} records, head {}", summary->records,
                              summary->head.sha256.substr(0, 16))};
  });
  const auto& pep_before = object_of(before, "pep");
  const auto& pep_after = object_of(after, "pep");
  const auto connections =
      number_of(pep_after, "canary_connections") - number_of(pep_before, "canary_connections");
  checks.add("outside: the canary's origin", connections == 1,
             fmt::format("saw {} connection(s)", connections));
}

}  // namespace

bool Verdict::ok() const { return !checks.empty() && std::ranges::all_of(checks, &Check::ok); }

Result<Verdict> verify_vm(const Vm& vm) {
  const auto facts = [&]() -> Result<json::object> {
    PINHOLE_TRY(auto client, connect(vm));
    return client.request({{"op", "facts"}});
  };
  const std::string token = sys::random_hex(8);
  const Plan plan(token);
  PINHOLE_TRY(const json::object before, facts());
  PINHOLE_TRY(const wire::Reply reply,
              ask_agent(vm, wire::ProbeRequest{.probes = plan.probes}, {.limit = kLongestProbe}));
  PINHOLE_TRY(const json::object after, facts());
  const auto* probed = std::get_if<wire::ProbeReply>(&reply);
  if (probed == nullptr || probed->results.size() != plan.probes.size())
    return fail("the guest's agent did not answer every question");
  Checks checks;
  check_boot(vm, after, probed->results[plan.marker], checks);
  check_inside(plan, probed->results, checks);
  check_outside(vm, plan, token, before, after, checks);
  Verdict verdict{
      .vm = vm.name, .boot_id = printable(text_of(after, "boot_id"), 64), .checks = checks.take()};
  PINHOLE_TRY(auto client, connect(vm));
  const auto failed = std::ranges::count(verdict.checks, false, &Check::ok);
  PINHOLE_TRY_VOID(client.request(
      {{"op", "note"},
       {"text", fmt::format("verify: {} checks, {} failed", verdict.checks.size(), failed)}}));
  return verdict;
}

json::object to_json(const Verdict& verdict) {
  json::array checks;
  for (const Check& check : verdict.checks) {
    checks.emplace_back(json::object{
        {"name", check.name}, {"ok", check.ok}, {"evidence", check.evidence}, {"ms", check.ms}});
  }
  return {{"ok", verdict.ok()},
          {"vm", verdict.vm},
          {"boot_id", verdict.boot_id},
          {"checks", std::move(checks)}};
}

void print_checks(const std::vector<Check>& checks) {
  std::size_t width = 0;
  for (const Check& check : checks) width = std::max(width, check.name.size());
  for (const Check& check : checks) {
    const std::string took = check.ms > 0 ? fmt::format("{:>6} ms", check.ms) : std::string(9, ' ');
    print_line(fmt::format("{} {:<{}} {}  {}", check.ok ? green("ok  ") : red("FAIL"), check.name,
                           width, took, dim(check.evidence)));
  }
}

}  // namespace pinhole::cli
