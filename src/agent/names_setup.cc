// SPDX-License-Identifier: Apache-2.0
#include "agent/names_setup.h"

#include <algorithm>
#include <string>

#include "agent/guest_file.h"
#include "agent/network.h"
#include "base/strings.h"
#include "dns/message.h"

namespace pinhole::agent {
namespace {

namespace fs = std::filesystem;

std::string resolv_conf() {
  return fmt::format(
      "# Written by pinhole-agent, which answers for every name.\n"
      "nameserver {}\n"
      "options timeout:2 attempts:2\n",
      kLoopbackAddress4);
}

void keep_original(const fs::path& file) {
  const fs::path kept = file.string() + ".pinhole-orig";
  std::error_code error;
  if (fs::symlink_status(kept, error).type() != fs::file_type::not_found) return;
  // A copy, for there is never a moment without a resolv.conf; without one nothing is lost.
  fs::copy(file, kept, fs::copy_options::copy_symlinks, error);
}

Result<void> write_resolv_conf(const fs::path& root) {
  const fs::path file = root / "etc/resolv.conf";
  std::error_code error;
  const std::string wanted = resolv_conf();
  if (fs::is_symlink(file, error) || guest_file(file) != wanted) keep_original(file);
  return put_guest_file(file, wanted, Links::replace);
}

/// The words of a line before its comment.
std::vector<std::string_view> words(std::string_view line) {
  line = line.substr(0, line.find('#'));
  std::vector<std::string_view> found;
  while (!line.empty()) {
    const std::size_t end = std::min(line.find_first_of(" \t\r"), line.size());
    if (end > 0) found.push_back(line.substr(0, end));
    line.remove_prefix(std::min(end + 1, line.size()));
  }
  return found;
}

bool knows(std::string_view hosts, std::string_view name) {
  for (const std::string_view line : split(hosts, '\n')) {
    const auto found = words(line);
    if (!found.empty() && std::find(found.begin() + 1, found.end(), name) != found.end())
      return true;
  }
  return false;
}

}  // namespace

std::string with_plain_hosts(std::string_view nsswitch) {
  constexpr std::string_view kLine = "hosts: files dns";
  std::string out;
  bool written = false;
  for (const std::string_view line : split(nsswitch, '\n')) {
    const auto found = words(line);
    const bool is_hosts = !found.empty() && found[0].starts_with("hosts:");
    if (is_hosts && written) continue;
    if (!out.empty() || line.data() != nsswitch.data()) out += '\n';
    const bool is_right = found.size() == 3 && found[1] == "files" && found[2] == "dns";
    out += is_hosts && !is_right ? kLine : line;
    written = written || is_hosts;
  }
  if (written) return out;
  if (!out.empty() && !out.ends_with('\n')) out += '\n';
  return out.append(kLine) + "\n";
}

std::string with_own_names(std::string_view hosts, std::string_view host_name) {
  std::string out(hosts);
  const auto add = [&](std::string_view line) {
    if (!out.empty() && !out.ends_with('\n')) out += '\n';
    out.append(line) += '\n';
  };
  if (!knows(hosts, "localhost")) {
    add("127.0.0.1 localhost");
    add("::1 localhost ip6-localhost ip6-loopback");
  }
  if (dns::is_host_name(host_name) && host_name != "localhost" && !knows(hosts, host_name))
    add(fmt::format("127.0.1.1 {}", host_name));
  return out;
}

Result<void> lead_names_to_agent(const fs::path& root, std::string_view host_name) {
  PINHOLE_TRY_VOID(write_resolv_conf(root));
  const fs::path nsswitch = root / "etc/nsswitch.conf";
  PINHOLE_TRY_VOID(put_guest_file(nsswitch, with_plain_hosts(guest_file(nsswitch))));
  const fs::path hosts = root / "etc/hosts";
  return put_guest_file(hosts, with_own_names(guest_file(hosts), host_name));
}

}  // namespace pinhole::agent
