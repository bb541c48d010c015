// SPDX-License-Identifier: Apache-2.0
#include "image/archive_sources.h"

#include <time.h>

#include <algorithm>

#include "base/clock.h"
#include "base/strings.h"
#include "sys/host_confinement.h"
#include "sys/process.h"
#include "sys/user.h"

namespace pinhole::image {
namespace {

bool is_plain_uri(std::string_view uri) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view(":/._~%+@-").find(c) != std::string_view::npos;
  };
  return (uri.starts_with("http://") || uri.starts_with("https://")) &&
         std::ranges::all_of(uri, plain);
}

/// The value of `Name: value` in `line`.
std::optional<std::string_view> field(std::string_view line, std::string_view name) {
  if (!line.starts_with(name) || line.substr(name.size()).empty() || line[name.size()] != ':')
    return std::nullopt;
  return trim(line.substr(name.size() + 1));
}

std::optional<std::chrono::system_clock::time_point> release_date(std::string_view release) {
  for (const std::string_view line : split(release.substr(0, 4096), '\n')) {
    const auto text = field(line, "Date");
    if (!text) continue;
    std::tm broken_down{};
    // "Sat, 15 Nov 2025 09:12:34 UTC"; the C locale is never changed.
    if (::strptime(std::string(*text).c_str(), "%a, %d %b %Y %H:%M:%S", &broken_down) == nullptr)
      return std::nullopt;
    // The clock counts nanoseconds: other years do not fit it, and no archive is from them.
    constexpr int kFirstYear = 1970;
    constexpr int kLastYear = 2200;
    const int year = broken_down.tm_year + 1900;
    if (year < kFirstYear || year > kLastYear) return std::nullopt;
    return std::chrono::system_clock::from_time_t(::timegm(&broken_down));
  }
  return std::nullopt;
}

}  // namespace

std::vector<std::string> debian_sources(std::string_view index_targets, std::string_view suite) {
  const std::string name(suite);
  const std::vector<std::string> releases = {name, name + "-updates", name + "-security"};
  std::vector<std::string> sources;
  bool has_main = false;
  for (const std::string_view line : split(index_targets, '\n')) {
    const auto parts = split(line, '|');
    if (parts.size() != 4 || parts[2] != "main" || !parts[3].starts_with("Debian")) continue;
    if (std::ranges::find(releases, parts[1]) == releases.end() || !is_plain_uri(parts[0]))
      continue;
    const std::string source = fmt::format("deb {} {} main", parts[0], parts[1]);
    if (std::ranges::find(sources, source) == sources.end()) sources.push_back(source);
    has_main = has_main || parts[1] == suite;
  }
  if (!has_main) sources.clear();
  return sources;
}

std::vector<std::string> host_sources(std::string_view suite) {
  const auto program = sys::find_program("apt-get");
  if (!program) return {};
  // Reads the host's own settings and lists, and writes a cache that nobody needs.
  sys::FileView view{.paths = sys::runtime_libraries()};
  for (const char* path : {"/etc/apt", "/etc/dpkg", "/usr/share/dpkg", "/var/lib/apt",
                           "/var/lib/dpkg", "/usr/share/keyrings"})
    view.paths.push_back({.path = path, .optional = true});
  for (const char* path : {program->c_str(), "/usr/bin/dpkg", "/usr/bin/apt-config"})
    view.paths.push_back({.path = path, .access = sys::Visible::Access::execute, .optional = true});
  auto isolation = sys::available_here(sys::apart(std::move(view)));
  if (!isolation) return {};
  const auto output = sys::run(
      {.program = *program,
       .args = {"indextargets", "--format", std::string(kIndexFormat), "Created-By: Packages"},
       .environment = {{"PATH", "/usr/bin:/bin"}, {"LC_ALL", "C"}},
       .isolation = *std::move(isolation)},
      {.time = std::chrono::seconds(30)});
  if (!output || !output->status.ok()) return {};
  return debian_sources(output->out, suite);
}

std::string newest_release_date(const std::vector<std::string>& releases) {
  std::optional<std::chrono::system_clock::time_point> newest;
  for (const std::string& release : releases) {
    const auto date = release_date(release);
    if (date && (!newest || *date > *newest)) newest = date;
  }
  return newest ? format_time(*newest) : "";
}

std::vector<std::string> installed_packages(std::string_view status) {
  std::vector<std::string> packages;
  std::string name;
  bool installed = false;
  for (const std::string_view line : split(status, '\n')) {
    if (const auto value = field(line, "Package")) {
      name = *value;
      installed = false;
    } else if (const auto state = field(line, "Status")) {
      installed = *state == "install ok installed";
    } else if (const auto version = field(line, "Version"); version && installed) {
      packages.push_back(fmt::format("{}={}", name, *version));
    }
  }
  std::ranges::sort(packages);
  return packages;
}

}  // namespace pinhole::image
