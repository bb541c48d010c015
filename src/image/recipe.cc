// SPDX-License-Identifier: Apache-2.0
#include "image/recipe.h"

#include <algorithm>
#include <iterator>
#include <type_traits>

#include "base/printable.h"
#include "base/sha256.h"
#include "base/strings.h"
#include "image/names.h"
#include "sys/files.h"
#include "yaml/mapping_reader.h"

namespace pinhole::image {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMaxRecipe = std::uint64_t{64} << 10;
constexpr std::uint64_t kMaxBakedFile = std::uint64_t{4} << 20;
constexpr std::uint64_t kMaxBakedTotal = std::uint64_t{32} << 20;
constexpr std::size_t kMaxBakedFiles = 1000;
constexpr std::size_t kMaxPackages = 2000;
constexpr std::size_t kMaxCmdline = 1024;
constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;
constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

bool word_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '-' || c == '_' || c == '+';
}

/// A package, suite or module name: it becomes part of a command line, so no option, no separator.
bool is_word(std::string_view text) {
  return !text.empty() && text.size() <= 128 && text.front() != '-' &&
         std::ranges::all_of(text, word_character);
}

/// A path below the recipe's folder.
bool is_inner_path(std::string_view text) {
  if (text.empty() || text.front() == '/') return false;
  const auto parts = split(text, '/');
  return std::ranges::none_of(
      parts, [](std::string_view part) { return part.empty() || part == "." || part == ".."; });
}

void check_words(yaml::MappingReader& reader, const yaml::Document& document, std::string_view key,
                 const std::vector<std::string>& words) {
  const yaml::Node* list = document.root.find(key);
  for (std::size_t i = 0; i < words.size() && list != nullptr; ++i) {
    if (is_word(words[i])) continue;
    reader.report(list->items[i].mark,
                  fmt::format("\"{}\" is no name for \"{}\"", printable(words[i], 80), key));
  }
}

void check_value(yaml::MappingReader& reader, const yaml::Document& document, std::string_view key,
                 bool good, std::string_view expected) {
  const yaml::Node* node = document.root.find(key);
  if (good || node == nullptr) return;
  reader.report(node->mark,
                fmt::format("\"{}\" expects {}, found {}", key, expected, yaml::describe(*node)));
}

void check_recipe(yaml::MappingReader& reader, const yaml::Document& document,
                  const Recipe& recipe) {
  if (const auto named = check_name(recipe.name); !named && !recipe.name.empty()) {
    reader.report(document.root.find("name")->mark, named.error().message);
  }
  if (!recipe.base.empty()) {
    if (const auto named = check_name(recipe.base); !named)
      reader.report(document.root.find("base")->mark, named.error().message);
  }
  check_value(reader, document, "suite", is_word(recipe.suite), "a Debian suite such as bookworm");
  check_value(reader, document, "packages",
              !recipe.packages.empty() && recipe.packages.size() <= kMaxPackages,
              "at least one package");
  check_words(reader, document, "packages", recipe.packages);
  check_words(reader, document, "initrd_modules", recipe.initrd_modules);
  check_words(reader, document, "direct_modules", recipe.direct_modules);
  const bool printable_cmdline =
      std::ranges::all_of(recipe.cmdline, [](char c) { return c >= ' ' && c < '\x7f'; });
  check_value(reader, document, "cmdline",
              printable_cmdline && recipe.cmdline.size() <= kMaxCmdline,
              "printable ASCII, at most 1024 characters");
  for (const auto& [key, path] :
       {std::pair<std::string_view, const std::string&>{"init", recipe.init},
        {"files", recipe.files},
        {"finish", recipe.finish}}) {
    check_value(reader, document, key, path.empty() || is_inner_path(path),
                "a path below the recipe's folder");
  }
}

/// Every file below `folder`, sorted by path.
Result<std::vector<BakedFile>> read_files(const fs::path& folder) {
  std::vector<BakedFile> files;
  std::uint64_t total = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator it(folder, error), end; it != end; it.increment(error)) {
    if (error) break;
    const fs::file_status status = it->symlink_status();
    if (fs::is_directory(status)) continue;
    if (!fs::is_regular_file(status)) {
      return fail("{} is neither a file nor a folder; baked files cannot be anything else",
                  printable(it->path().string()));
    }
    PINHOLE_TRY(std::string content, sys::read_file(it->path(), kMaxBakedFile));
    total += content.size();
    if (total > kMaxBakedTotal || files.size() == kMaxBakedFiles) {
      return fail("{} holds more than {} or {} files", printable(folder.string()),
                  format_size(kMaxBakedTotal), kMaxBakedFiles);
    }
    const bool executable = (status.permissions() & fs::perms::owner_exec) != fs::perms::none;
    files.push_back({.path = it->path().lexically_relative(folder).string(),
                     .executable = executable,
                     .content = std::move(content)});
  }
  if (error) return fail("cannot read {}: {}", printable(folder.string()), error.message());
  std::ranges::sort(files, {}, &BakedFile::path);
  return files;
}

std::string hash_all(const std::vector<std::string>& texts, const LoadedRecipe& loaded) {
  Sha256 hash;
  const auto add = [&](std::string_view part) {
    hash.update(fmt::format("{}:", part.size()));  // so that no two sequences of parts look alike
    hash.update(part);
  };
  for (const std::vector<std::string>* list : {&texts, &loaded.finish}) {
    add(std::to_string(list->size()));
    for (const std::string& part : *list) add(part);
  }
  add(loaded.init);
  for (const BakedFile& file : loaded.files) {
    add(file.path);
    add(file.executable ? "x" : "-");
    add(file.content);
  }
  return hash.finish_hex();
}

/// A recipe's own file.
struct Source {
  fs::path path;
  std::string text;
  Recipe recipe;
};
Result<Source> read_source(const fs::path& path) {
  auto text = sys::read_file(path, kMaxRecipe);
  if (!text) return fail(std::move(text).error().context("cannot use the recipe"));
  PINHOLE_TRY(Recipe recipe, parse_recipe(*text, path.filename().string()));
  return Source{.path = path, .text = *std::move(text), .recipe = std::move(recipe)};
}

fs::path base_file(const Source& source, const fs::path& shipped) {
  const std::string name = source.recipe.base + ".yaml";
  fs::path beside = source.path.parent_path() / name;
  std::error_code error;
  return shipped.empty() || fs::exists(beside, error) ? beside : shipped / name;
}

/// The recipe and its bases, each after what it adds to.
Result<std::vector<Source>> read_sources(const fs::path& path, const fs::path& shipped) {
  std::vector<Source> sources;
  std::string way;
  fs::path next = path;
  for (;;) {
    auto source = read_source(next);
    if (!source && sources.empty()) return std::unexpected(std::move(source).error());
    if (!source) {
      return fail(std::move(source).error().context(
          fmt::format("while reading the base of recipe {}", printable(way))));
    }
    const std::string base = source->recipe.base;
    way = sources.empty() ? source->recipe.name : way + " -> " + source->recipe.name;
    sources.insert(sources.begin(), *std::move(source));
    if (base.empty()) return sources;
    next = base_file(sources.front(), shipped);
    const auto same = [&](const Source& other) { return other.path == next; };
    if (std::ranges::any_of(sources, same)) {
      return fail(Error{.message = fmt::format("recipe {} stands on itself: {} -> {}",
                                               printable(path.string()), way, base),
                        .fix = "take one of the \"base\" keys out"});
    }
    if (sources.size() > kMaxBases) {
      return fail(Error{.message = fmt::format("recipe {} stands on more than {} others: {} -> {}",
                                               printable(path.string()), kMaxBases, way, base),
                        .fix = "put some of them into one"});
    }
  }
}

/// Later files take the place of earlier ones with the same path.
void add_files(std::vector<BakedFile>& files, std::vector<BakedFile> more) {
  std::erase_if(files, [&](const BakedFile& file) {
    return std::ranges::binary_search(more, file.path, {}, &BakedFile::path);
  });
  std::ranges::move(more, std::back_inserter(files));
  std::ranges::sort(files, {}, &BakedFile::path);
}

/// What the file of one recipe names besides packages.
Result<void> load_parts(const Source& source, LoadedRecipe& loaded) {
  const fs::path folder = source.path.parent_path();
  const Recipe& recipe = source.recipe;
  if (!recipe.init.empty()) {
    PINHOLE_TRY(loaded.init, sys::read_file(folder / recipe.init, kMaxBakedFile));
  }
  if (!recipe.finish.empty()) {
    PINHOLE_TRY(std::string finish, sys::read_file(folder / recipe.finish, kMaxBakedFile));
    loaded.finish.push_back(std::move(finish));
  }
  if (!recipe.files.empty()) {
    PINHOLE_TRY(auto files, read_files(folder / recipe.files));
    add_files(loaded.files, std::move(files));
  }
  return {};
}

}  // namespace

Result<Recipe> parse_recipe(std::string_view text, std::string_view source) {
  PINHOLE_TRY(const yaml::Document document, yaml::parse(text, source, {.bytes = kMaxRecipe}));
  yaml::MappingReader reader(document, document.root, "the recipe");
  const auto version = reader.optional_u64("version");
  const std::string base = reader.optional_string("base").value_or("");
  const bool alone = base.empty();
  const auto given_or_inherited = [&](std::string_view key) {
    return alone ? reader.required_string(key) : reader.optional_string(key).value_or("");
  };
  Recipe recipe{
      .name = reader.required_string("name"),
      .base = base,
      .description = reader.optional_string("description").value_or(""),
      .suite = given_or_inherited("suite"),
      .disk_size =
          reader.optional_size("disk_size", {kGiB / 2, 256 * kGiB}).value_or(alone ? 4 * kGiB : 0),
      .esp_size =
          reader.optional_size("esp_size", {40 * kMiB, 2 * kGiB}).value_or(alone ? 64 * kMiB : 0),
      .packages = reader.string_list("packages"),
      .cmdline = reader.optional_string("cmdline").value_or(""),
      .initrd_modules = reader.string_list("initrd_modules"),
      .direct_modules = reader.string_list("direct_modules"),
      .init = given_or_inherited("init"),
      .files = reader.optional_string("files").value_or(""),
      .finish = reader.optional_string("finish").value_or("")};
  if (document.root.kind == yaml::Node::Kind::mapping && version != 1U) {
    const yaml::Node* node = document.root.find("version");
    reader.report(node == nullptr ? document.root.mark : node->mark,
                  "a recipe starts with \"version: 1\", the only one that this pinhole knows");
  }
  if (document.root.kind == yaml::Node::Kind::mapping) {
    if (alone && document.root.find("packages") == nullptr) {
      reader.report(document.root.mark, "the recipe has no \"packages\"");
    }
    check_recipe(reader, document, recipe);
  }
  PINHOLE_TRY_VOID(reader.finish());
  return recipe;
}

Recipe add_to_base(const Recipe& base, const Recipe& own) {
  Recipe sum = own;
  const auto inherit = [](auto& value, const auto& inherited) {
    if (value == std::decay_t<decltype(value)>()) value = inherited;
  };
  inherit(sum.suite, base.suite);
  inherit(sum.disk_size, base.disk_size);
  inherit(sum.esp_size, base.esp_size);
  inherit(sum.cmdline, base.cmdline);
  inherit(sum.init, base.init);
  const auto add = [](std::vector<std::string>& list, const std::vector<std::string>& first) {
    std::erase_if(list, [&](const std::string& word) {
      return std::ranges::find(first, word) != first.end();
    });
    list.insert(list.begin(), first.begin(), first.end());
  };
  add(sum.packages, base.packages);
  add(sum.initrd_modules, base.initrd_modules);
  add(sum.direct_modules, base.direct_modules);
  return sum;
}

Result<LoadedRecipe> load_recipe(const fs::path& path, const fs::path& shipped) {
  PINHOLE_TRY(const std::vector<Source> sources, read_sources(path, shipped));
  LoadedRecipe loaded;
  std::vector<std::string> texts;
  for (const Source& source : sources) {
    const bool first = texts.empty();
    loaded.recipe = first ? source.recipe : add_to_base(loaded.recipe, source.recipe);
    texts.push_back(source.text);
    if (auto parts = load_parts(source, loaded); !parts) {
      return fail(std::move(parts).error().context(
          fmt::format("recipe {}", printable(source.path.string()))));
    }
  }
  if (loaded.recipe.packages.size() > kMaxPackages) {
    return fail("recipe {} and its bases name more than {} packages", printable(path.string()),
                kMaxPackages);
  }
  loaded.sha256 = hash_all(texts, loaded);
  return loaded;
}

}  // namespace pinhole::image
