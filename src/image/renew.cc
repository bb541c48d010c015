// SPDX-License-Identifier: Apache-2.0
#include "image/renew.h"

#include <poll.h>

#include <algorithm>
#include <vector>

#include "base/printable.h"
#include "base/strings.h"
#include "sys/files.h"
#include "sys/sparse_copy.h"

namespace pinhole::image {
namespace {

namespace fs = std::filesystem;
using Access = sys::Visible::Access;

constexpr std::uint64_t kMaxAgent = std::uint64_t{64} << 20;
constexpr std::uint64_t kMaxNotes = 65536;

/// debugfs cuts a path at what it has a meaning for; such a store is built anew instead.
bool is_plain(std::string_view path) {
  return std::ranges::none_of(path, [](char c) { return c == '"' || c == '?' || c < ' '; });
}

std::string write_script(std::string_view agent) {
  std::string script = "cd /usr/lib/pinhole\nrm pinhole-agent\n";
  script += fmt::format("write \"{}\" pinhole-agent\n", agent);
  script += "sif pinhole-agent mode 0100755\nsif pinhole-agent uid 0\nsif pinhole-agent gid 0\n";
  return script;
}

Step debugfs(const Staging& staging, std::uint64_t root_offset) {
  const fs::path disk = staging.out() / "disk.raw";
  return {.doing = "put the agent into the image",
          .program = "debugfs",
          .args = {"-f", (staging.folder / "script").string(),
                   fmt::format("{}?offset={}", disk.string(), root_offset)},
          .sees = {{.path = staging.folder / "script"}, {.path = disk}}};
}

Result<void> write_agent(const Staging& staging, std::uint64_t root_offset,
                         const StepContext& context) {
  const fs::path agent = staging.folder / "agent";
  PINHOLE_TRY_VOID(sys::write_file_atomic(staging.folder / "script", write_script(agent.string())));
  Step step = debugfs(staging, root_offset);
  step.args.insert(step.args.begin(), "-w");
  step.sees.back().access = Access::write;
  step.sees.push_back({.path = agent});
  return run_step(step, context);
}

/// What `stat` says about it, in one line of words.
struct Found {
  std::string facts;
  std::string content;
};
Result<Found> read_back(const Staging& staging, std::uint64_t root_offset,
                        const StepContext& context) {
  const fs::path copy = staging.temporary() / "agent";
  constexpr std::string_view kAgent = "/usr/lib/pinhole/pinhole-agent";
  PINHOLE_TRY_VOID(
      sys::write_file_atomic(staging.folder / "script",
                             fmt::format("stat {0}\ndump {0} \"{1}\"\n", kAgent, copy.string())));
  Step step = debugfs(staging, root_offset);
  step.sees.push_back({.path = staging.temporary(), .access = Access::write});
  Found found;
  const StepContext reading{.cancel_fd = context.cancel_fd, .on_line = [&](std::string_view line) {
                              if (found.facts.size() > kMaxNotes) return;
                              for (const std::string_view word : split(line, ' '))
                                if (!trim(word).empty()) found.facts.append(trim(word)) += " ";
                            }};
  PINHOLE_TRY_VOID(run_step(step, reading));
  PINHOLE_TRY(found.content, sys::read_file(copy, kMaxAgent));
  return found;
}

}  // namespace

Result<void> copy_image(const Staging& staging, const Image& old, const StepContext& context) {
  std::error_code error;
  for (const fs::path& folder : {staging.out(), staging.temporary()}) {
    fs::create_directories(folder, error);
    if (error) return fail("cannot create {}: {}", folder.string(), error.message());
  }
  std::vector<fs::path> unchanged = {old.kernel(), old.initrd()};
  if (const auto direct = old.direct_archive()) unchanged.push_back(*direct);
  for (const fs::path& file : unchanged) {
    fs::create_hard_link(file, staging.out() / file.filename(), error);
    if (error) return fail("cannot link {}: {}", file.string(), error.message());
  }
  return sys::copy_sparse(old.disk(), staging.out() / "disk.raw", [&] {
    pollfd given_up{.fd = context.cancel_fd, .events = POLLIN, .revents = 0};
    return ::poll(&given_up, 1, 0) <= 0;
  });
}

Result<void> replace_agent(const Staging& staging, const fs::path& agent, std::uint64_t root_offset,
                           const StepContext& context) {
  if (!is_plain(staging.folder.string())) {
    return fail("debugfs cannot be told the name {}", printable(staging.folder.string()));
  }
  PINHOLE_TRY(const std::string program, sys::read_file(agent, kMaxAgent));
  PINHOLE_TRY_VOID(sys::write_file_atomic(staging.folder / "agent", program));
  PINHOLE_TRY_VOID(write_agent(staging, root_offset, context));
  auto found = read_back(staging, root_offset, context);
  if (!found) {
    return fail(std::move(found).error().context("while reading back what debugfs wrote"));
  }
  const auto has = [&](std::string_view fact) { return found->facts.contains(fact); };
  if (found->content == program && has("Type: regular Mode: 0755 ") && has("User: 0 Group: 0 "))
    return {};
  return fail("cannot put the agent into the image: debugfs wrote something else");
}

}  // namespace pinhole::image
