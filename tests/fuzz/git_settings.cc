// SPDX-License-Identifier: Apache-2.0
// A repository's config as a guest may have written it: what we call harmless, git itself must read as
// nothing but keys that execute nothing. And paths that are read out of it stay below the workspace.
#include "preflight/git_settings.h"

#include <algorithm>
#include <array>

#include "base/strings.h"
#include "fuzz/fuzz.h"
#include "sys/process.h"
#include "sys/user.h"

namespace pinhole::preflight {
namespace {

/// Sections and keys that the reader may call harmless: written down once more, as this list is the decision.
constexpr std::array<std::string_view, 24> kHarmless = {
    "core.repositoryformatversion",
    "core.filemode",
    "core.bare",
    "core.logallrefupdates",
    "core.ignorecase",
    "core.symlinks",
    "core.precomposeunicode",
    "branch.remote",
    "branch.merge",
    "branch.rebase",
    "branch.vscode-merge-base",
    "remote.url",
    "remote.fetch",
    "remote.tagopt",
    "submodule.url",
    "submodule.active",
    "user.name",
    "user.email",
    "extensions.objectformat",
    "extensions.refstorage",
    "extensions.partialclone",
    "remote.promisor",
    "remote.partialclonefilter",
    "lfs.repositoryformatversion",
};

/// What git reads: "section.sub.key\nvalue", each ended by a NUL; nothing where git refuses the file.
std::string as_git_reads_it(std::string_view config) {
  static const auto git = sys::find_program("git");
  if (!git) return {};
  const auto output = sys::run(
      {.program = *git, .args = {"config", "--no-includes", "--file", "-", "--null", "--list"}},
      {.time = std::chrono::seconds(20), .input = std::string(config)});
  PINHOLE_CHECK(output.has_value());
  return output->status.ok() ? output->out : std::string();
}

void check_harmless(std::string_view config) {
  const std::string read = as_git_reads_it(config);
  for (const std::string_view entry : split(read, '\0')) {
    if (entry.empty()) continue;
    const std::string_view name = entry.substr(0, entry.find('\n'));
    const std::string_view section = name.substr(0, name.find('.'));
    const std::string_view key = name.substr(name.rfind('.') + 1);
    const std::string plain = std::string(section) + "." + std::string(key);
    PINHOLE_CHECK(std::ranges::find(kHarmless, plain) != kHarmless.end());
    const std::string_view value = name.size() == entry.size() ? "" : entry.substr(name.size() + 1);
    PINHOLE_CHECK(!value.starts_with('-') && !value.contains("::") && !value.contains('\n'));
  }
}

void check_paths(std::string_view text) {
  const NamedPaths paths = named_paths(text);
  PINHOLE_CHECK(paths.hooks.size() + paths.included.size() <= 16);
  for (const std::string& path : paths.hooks) {
    const std::string whole = joined("a/b", path);
    PINHOLE_CHECK(!whole.starts_with('/') && !("/" + whole + "/").contains("/../"));
  }
}

}  // namespace
}  // namespace pinhole::preflight

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace pinhole;
  const std::string_view text = fuzz::text_of(data, size);
  preflight::check_paths(text);
  if (preflight::is_plain_git_file(text, "lib/x"))
    PINHOLE_CHECK(text.contains("/.git/modules/") || text.contains("../.git/modules/"));
  // A process for each: only where there is something to be asked about.
  if (text.contains('=') && preflight::active_lines(text).empty()) preflight::check_harmless(text);
  return 0;
}
