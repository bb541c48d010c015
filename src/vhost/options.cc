// SPDX-License-Identifier: Apache-2.0
#include "vhost/options.h"

#include <sys/un.h>

#include <array>
#include <limits>
#include <set>
#include <utility>

#include "base/strings.h"
#include "vsock/packet.h"

namespace pinhole::vhost {
namespace {

constexpr int kUsageStatus = 2;

std::unexpected<Error> bad(std::string message) {
  return fail(Error{
      .message = std::move(message), .fix = "pinhole-vsockd --help", .exit_status = kUsageStatus});
}

Result<std::filesystem::path> parse_path(std::string_view option, std::string_view text) {
  constexpr std::size_t kLongest = sizeof(sockaddr_un::sun_path) - 1;
  if (text.empty()) return bad(fmt::format("{}: the path is empty", option));
  if (text.size() > kLongest) {
    return bad(fmt::format("{}: the path {} has {} bytes; a socket's path has at most {}", option,
                           text, text.size(), kLongest));
  }
  return std::filesystem::path(text);
}

Result<int> parse_fd(std::string_view option, std::string_view text) {
  const auto number = parse_u64(text);
  if (!number || *number < 3 || *number > 1'000'000) {
    return bad(fmt::format("{}: \"{}\" is not a descriptor number from 3 up", option, text));
  }
  return static_cast<int>(*number);
}

/// "P" or "P=PATH". An empty path stands for `<base>_P`, which is not known yet.
Result<void> add_port(std::string_view entry, PortPaths& ports) {
  const std::size_t equals = entry.find('=');
  const std::string_view number = entry.substr(0, equals);
  const auto port = parse_u64(number);
  if (!port || *port == 0 || *port >= std::numeric_limits<std::uint32_t>::max()) {
    return bad(fmt::format("--ports: \"{}\" is not a port from 1 to 4294967294", number));
  }
  std::filesystem::path path;
  if (equals != entry.npos) {
    PINHOLE_TRY(path, parse_path(fmt::format("--ports {}", number), entry.substr(equals + 1)));
  }
  if (ports.size() >= kMaxPorts) return bad(fmt::format("--ports: more than {} ports", kMaxPorts));
  if (!ports.emplace(static_cast<std::uint32_t>(*port), std::move(path)).second) {
    return bad(fmt::format("--ports: port {} is listed twice", number));
  }
  return {};
}

Result<void> take_option(std::string_view name, std::string_view value, Options& options) {
  if (name == "--socket") {
    PINHOLE_TRY(options.socket, parse_path(name, value));
  } else if (name == "--socket-fd") {
    PINHOLE_TRY(options.socket_fd, parse_fd(name, value));
  } else if (name == "--vhost-fd") {
    PINHOLE_TRY(options.vhost_fd, parse_fd(name, value));
  } else if (name == "--control-fd") {
    PINHOLE_TRY(options.control_fd, parse_fd(name, value));
  } else if (name == "--base") {
    PINHOLE_TRY(options.base, parse_path(name, value));
  } else if (name == "--base-fd") {
    PINHOLE_TRY(options.base_fd, parse_fd(name, value));
  } else if (name == "--ports") {
    for (const std::string_view entry : split(value, ',')) {
      PINHOLE_TRY_VOID(add_port(entry, options.ports));
    }
  } else if (name == "--cid") {
    const auto cid = parse_u64(value);
    if (!cid || *cid < vsock::kFirstGuestCid || *cid >= std::numeric_limits<std::uint32_t>::max()) {
      return bad(fmt::format("--cid: \"{}\" is not a number from 3 to 4294967294", value));
    }
    options.cid = *cid;
  }
  return {};
}

Result<Options> complete(Options options) {
  if (int{!options.socket.empty()} + int{options.socket_fd.has_value()} +
          int{options.vhost_fd.has_value()} !=
      1) {
    return bad("give one of --socket PATH, --socket-fd N and --vhost-fd N: where QEMU connects");
  }
  std::set<int> inherited;
  for (const auto& fd :
       {options.socket_fd, options.vhost_fd, options.base_fd, options.control_fd}) {
    if (fd && !inherited.insert(*fd).second) {
      return bad(fmt::format("descriptor {} is given for two things", *fd));
    }
  }
  if (options.base.empty()) return bad("--base PATH is missing: the stem of the sockets' paths");
  if (options.ports.empty()) return bad("--ports is missing: the ports that the guest may reach");
  for (auto& [port, path] : options.ports) {
    if (!path.empty()) continue;
    PINHOLE_TRY(path, parse_path(fmt::format("--ports {}", port),
                                 fmt::format("{}_{}", options.base.string(), port)));
  }
  return options;
}

}  // namespace

Result<Options> parse_options(std::span<const std::string_view> args) {
  static constexpr std::array<std::string_view, 8> kWithValue = {
      "--socket",  "--socket-fd", "--vhost-fd", "--base",
      "--base-fd", "--ports",     "--cid",      "--control-fd"};
  Options options;
  for (std::size_t i = 0; i < args.size(); ++i) {
    const std::string_view arg = args[i];
    const std::string_view name = arg.substr(0, arg.find('='));
    if (arg == "--help" || arg == "-h") {
      options.help = true;
      return options;
    }
    if (arg == "--once") {
      options.once = true;
    } else if (std::ranges::find(kWithValue, name) == kWithValue.end()) {
      std::string message = fmt::format("unknown option \"{}\"", arg);
      if (const auto near = closest(name, kWithValue)) {
        message += fmt::format("; did you mean {}?", *near);
      }
      return bad(std::move(message));
    } else if (name.size() < arg.size()) {
      PINHOLE_TRY_VOID(take_option(name, arg.substr(name.size() + 1), options));
    } else if (i + 1 == args.size()) {
      return bad(fmt::format("{} needs a value", arg));
    } else {
      PINHOLE_TRY_VOID(take_option(name, args[++i], options));
    }
  }
  return complete(std::move(options));
}

std::string_view usage() {
  return R"(usage: pinhole-vsockd --socket PATH | --socket-fd N | --vhost-fd N  --base PATH  --ports P[=PATH][,…]  [options]

The virtio-vsock device of one VM, over vhost-user, for QEMU's vhost-user-vsock-pci.

  --socket PATH     listen here for QEMU; --socket-fd N: an inherited socket, listening or connected
  --vhost-fd N      an inherited socket that QEMU holds the other end of; when it closes, the program ends
  --base PATH       host programs connect here and write "CONNECT <port>\n" to reach a guest port
  --base-fd N       that socket, inherited and listening
  --ports LIST      ports that the guest may reach: P leads to <base>_P, P=PATH to PATH
  --cid N           the guest's CID (default 3)
  --once            end when QEMU disconnects
  --control-fd N    an inherited, connected socket: each line "stats" is answered by a line of JSON
                    {"connections":…,"half_open":…,"buffered_bytes":…,"opened":…,"reset":…,"limited":…};
                    its end, and any other line, ends the program

example:
  pinhole-vsockd --socket vmm/vsock --base door/vm --ports 440,442 --cid 3
  qemu-system-x86_64 … -chardev socket,id=v,path=vmm/vsock -device vhost-user-vsock-pci,chardev=v
)";
}

}  // namespace pinhole::vhost
