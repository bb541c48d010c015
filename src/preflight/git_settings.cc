// SPDX-License-Identifier: Apache-2.0
#include "preflight/git_settings.h"

#include <algorithm>
#include <array>
#include <filesystem>

#include "base/strings.h"

namespace pinhole::preflight {
namespace {

constexpr std::size_t kMostNamedPaths = 16;

/// What git itself writes into a new repository: section.key, where the value is one of `words` or, without any,
/// of plain text.
enum class Value { boolean, number, text, url };
struct PlainKey {
  std::string_view section, key;
  Value value;
};
constexpr PlainKey kPlainKeys[] = {
    {"core", "repositoryformatversion", Value::number},
    {"core", "filemode", Value::boolean},
    {"core", "bare", Value::boolean},
    {"core", "logallrefupdates", Value::boolean},
    {"core", "ignorecase", Value::boolean},
    {"core", "symlinks", Value::boolean},
    {"core", "precomposeunicode", Value::boolean},
    {"branch", "remote", Value::text},
    {"branch", "merge", Value::text},
    {"branch", "rebase", Value::boolean},
    {"branch", "vscode-merge-base", Value::text},
    {"remote", "url", Value::url},
    {"remote", "fetch", Value::text},
    {"remote", "tagopt", Value::text},
    {"submodule", "url", Value::url},
    {"submodule", "active", Value::boolean},
    {"user", "name", Value::text},
    {"user", "email", Value::text},
    {"extensions", "objectformat", Value::text},
    {"extensions", "refstorage", Value::text},
    {"extensions", "partialclone", Value::text},
    {"remote", "promisor", Value::boolean},
    {"remote", "partialclonefilter", Value::text},
    {"lfs", "repositoryformatversion", Value::number},
};

bool is_letter_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool all_of(std::string_view text, std::string_view others) {
  return std::ranges::all_of(text, [&](char c) {
    return is_letter_or_digit(c) || others.find(c) != std::string_view::npos;
  });
}

/// `ext::` and other helpers run programs, and so does a leading '-'.
bool is_plain_url(std::string_view url) {
  constexpr std::string_view kInside = "/.-_~@:%+";
  if (!all_of(url, kInside) || url.contains("::")) return false;
  for (const std::string_view scheme : {"https://", "http://", "ssh://", "git://"}) {
    if (url.starts_with(scheme)) return url.size() > scheme.size() && url[scheme.size()] != '-';
  }
  if (url.contains("://")) return false;
  // A repository on this host runs nothing of its own config when one fetches from it.
  for (const std::string_view start : {"git@", "/", "./", "../"}) {
    if (url.starts_with(start)) return true;
  }
  return false;
}

bool is_plain_value(std::string_view text, Value value) {
  switch (value) {
    case Value::boolean:
      return text == "true" || text == "false";
    case Value::number:
      return parse_u64(text).has_value();
    case Value::text:
      // A remote's name may also be a URL, one of a helper too (gitremote-helpers(7)).
      return !text.starts_with('-') && !text.contains("::") && all_of(text, " /.-_@:+*,<>'()");
    case Value::url:
      return is_plain_url(text);
  }
  return false;
}

bool is_plain(std::string_view section, std::string_view key, std::string_view text) {
  return std::ranges::any_of(kPlainKeys, [&](const PlainKey& plain) {
    return plain.section == section && plain.key == key && is_plain_value(text, plain.value);
  });
}

/// `[section]` or `[section "name"]` and nothing behind it: the section in lower case; empty for anything else.
std::string section_of(std::string_view line) {
  if (!line.starts_with('[') || !line.ends_with(']')) return {};
  line = line.substr(1, line.size() - 2);
  const std::size_t space = line.find(' ');
  const std::string_view name = line.substr(0, space);
  if (name.empty() || !all_of(name, "-")) return {};
  if (space == std::string_view::npos) return to_lower(name);
  const std::string_view quoted = line.substr(space + 1);
  const bool whole = quoted.size() >= 2 && quoted.front() == '"' && quoted.back() == '"' &&
                     all_of(quoted.substr(1, quoted.size() - 2), " /.-_@:+");
  return whole ? to_lower(name) : std::string();
}

struct Setting {
  std::string section;  // lower case
  std::string key;      // lower case
  std::string_view value;
};

/// Everything that is not a plain header, empty or a comment, line by line.
template <typename OnSetting>
void each_setting(std::string_view config, const OnSetting& on_setting) {
  std::string section, header;
  for (const std::string_view whole : split(config, '\n')) {
    const std::string_view line = trim(whole);
    if (line.empty() || (line[0] == '#' || line[0] == ';')) continue;
    if (const std::string named = section_of(line); !named.empty()) {
      section = named;
      header = line;
      continue;
    }
    const std::size_t equals = line.find('=');
    Setting setting{.section = section, .key = to_lower(trim(line.substr(0, equals))), .value = {}};
    if (equals != std::string_view::npos) setting.value = trim(line.substr(equals + 1));
    on_setting(setting, header, line);
  }
}

std::string_view unquoted(std::string_view value) {
  if (value.size() >= 2 && value.front() == '"' && value.back() == '"')
    return value.substr(1, value.size() - 2);
  return value;
}

}  // namespace

std::string active_lines(std::string_view config) {
  // A value that goes on in the next line: where one ends and what is in it is git's to say.
  if (config.contains("\\\n") || config.contains("\\\r") || config.contains('\0'))
    return std::string(config);
  std::string out;
  each_setting(config, [&](const Setting& setting, std::string_view header, std::string_view line) {
    if (is_plain(setting.section, setting.key, setting.value)) return;
    out.append(header).append("\t").append(line).append("\n");
  });
  return out;
}

NamedPaths named_paths(std::string_view config) {
  NamedPaths paths;
  each_setting(config, [&](const Setting& setting, std::string_view, std::string_view) {
    if (paths.hooks.size() + paths.included.size() >= kMostNamedPaths) return;
    if (setting.key == "hookspath") paths.hooks.emplace_back(unquoted(setting.value));
    const bool includes = setting.section == "include" || setting.section == "includeif";
    if (setting.key == "path" && includes) paths.included.emplace_back(unquoted(setting.value));
  });
  return paths;
}

std::string joined(std::string_view folder, std::string_view path) {
  const std::filesystem::path whole =
      (std::filesystem::path(folder) / std::filesystem::path(path)).lexically_normal();
  std::string out = whole.string();
  while (out.ends_with('/')) out.pop_back();
  if (out.empty() || out == "." || whole.is_absolute() || *whole.begin() == "..") return {};
  return out;
}

bool is_plain_git_file(std::string_view content, std::string_view folder) {
  constexpr std::string_view kPrefix = "gitdir: ";
  if (!content.starts_with(kPrefix)) return false;
  content.remove_prefix(kPrefix.size());
  if (content.ends_with('\n')) content.remove_suffix(1);
  if (!content.starts_with("../") || !all_of(content, "/.-_")) return false;
  const std::string target = joined(folder, content);
  return target.starts_with(".git/modules/") || target.contains("/.git/modules/");
}

}  // namespace pinhole::preflight
