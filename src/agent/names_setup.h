// SPDX-License-Identifier: Apache-2.0
// The guest's files that lead name look-ups to the agent, whatever else (systemd-resolved, a DHCP
// client of the image) had made of them.
#pragma once

#include <filesystem>

#include "base/error.h"

namespace pinhole::agent {

/// Below `root`: etc/resolv.conf names the agent alone (a link to systemd-resolved's stub is
/// replaced by a file; the first content is kept as etc/resolv.conf.pinhole-orig),
/// etc/nsswitch.conf looks hosts up in "files dns", and etc/hosts knows localhost and the machine's
/// own name. What is right already is left alone.
Result<void> lead_names_to_agent(const std::filesystem::path& root, std::string_view host_name);

/// The text of nsswitch.conf with hosts looked up in "files dns".
std::string with_plain_hosts(std::string_view nsswitch);
/// The text of /etc/hosts with localhost and `host_name`.
std::string with_own_names(std::string_view hosts, std::string_view host_name);

}  // namespace pinhole::agent
