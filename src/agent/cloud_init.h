// SPDX-License-Identifier: Apache-2.0
// What cloud-init says about this boot, from the files it writes: result.json (only when it is
// done; below /run, so never an earlier boot's), status.json, instance-id.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "base/error.h"
#include "sys/asio.h"

namespace pinhole::agent {

struct CloudInit {
  enum class State { absent, disabled, running, done, error };
  State state = State::absent;
  std::string instance_id = {};  // known once it is done
  std::string detail = {};       // its errors, or the datasource; one line, printable
};

/// As on the wire: "absent", "disabled", …
std::string_view cloud_init_text(CloudInit::State state);

/// Looks once. `root` is put in front of the paths.
CloudInit read_cloud_init(const std::filesystem::path& root);

/// What went wrong beside the errors in result.json: what `cloud-init schema` refuses of the user-data, asked only where
/// cloud-init's own log says that there is something, and systemd's failed units. As it stands in the stage's detail
/// (wire/hello.h); empty when there is nothing.
asio::awaitable<std::string> cloud_init_troubles(std::filesystem::path root);

/// What `cloud-init schema --system` says, as one line; empty where it refuses nothing. Part of cloud_init_troubles, apart for
/// its tests, as are the names in `systemctl list-units --state=failed --plain --no-legend`.
std::string parse_schema_errors(std::string_view said);
std::string parse_failed_units(std::string_view said);

/// result.json: {"v1": {"datasource": …, "errors": […]}}. Part of read_cloud_init, apart for its
/// tests.
CloudInit parse_cloud_init_result(std::string_view json);

}  // namespace pinhole::agent
