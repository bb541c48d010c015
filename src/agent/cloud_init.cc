// SPDX-License-Identifier: Apache-2.0
#include "agent/cloud_init.h"

#include <boost/json/parse.hpp>

#include "agent/helper.h"
#include "base/printable.h"
#include "base/strings.h"
#include "sys/files.h"
#include "wire/hello.h"

namespace pinhole::agent {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr std::uint64_t kFileBytes = 256 * 1024;
constexpr std::size_t kDetail = wire::kDetailBytes - 64;  // room for words around it

bool present(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

CloudInit error(std::string detail) {
  return {.state = CloudInit::State::error, .detail = std::move(detail)};
}

bool switched_off(const fs::path& root) {
  if (present(root / "etc/cloud/cloud-init.disabled")) return true;
  // ds-identify's word: no datasource was found, so the generator did not start it.
  if (present(root / "run/cloud-init/disabled")) return true;
  const auto cmdline = sys::read_file(root / "proc/cmdline", kFileBytes);
  return cmdline && cmdline->find("cloud-init=disabled") != std::string::npos;
}

std::string read_instance_id(const fs::path& root) {
  const auto text = sys::read_file(root / "var/lib/cloud/data/instance-id", kFileBytes);
  if (!text) return {};
  std::string id(trim(*text));
  // It becomes a word on the wire.
  const bool word = id.size() <= wire::kWordBytes && printable(id) == id &&
                    id.find_first_not_of("\t ") == 0 && id.find(' ') == std::string::npos;
  return word ? id : std::string();
}

constexpr std::size_t kTrouble = 300;  // of the schema's words, and of the units' names
constexpr std::size_t kMostUnits = 8;
constexpr std::uint64_t kLogBytes = 4 << 20;
/// Python takes its time to start where the processor is emulated.
constexpr std::chrono::seconds kSchemaLimit{60};
constexpr std::chrono::seconds kUnitsLimit{10};

}  // namespace

std::string parse_schema_errors(std::string_view said) {
  std::string out;
  for (std::string_view line : split(said, '\n')) {
    line = trim(line);
    // "Valid cloud-config: system userdata", or who may not ask.
    const bool refused = line.contains("rror") || !out.empty();
    if (line.empty() || line.starts_with("Valid ") || !refused) continue;
    if (!out.empty()) out += ' ';
    out += line;
  }
  constexpr std::string_view kNoise = "Error: Cloud config schema errors: ";
  if (out.starts_with(kNoise)) out.erase(0, kNoise.size());
  return printable(out, kTrouble);
}

std::string parse_failed_units(std::string_view said) {
  std::string out;
  std::size_t count = 0;
  for (const std::string_view line : split(said, '\n')) {
    const std::string_view unit = trim(line).substr(0, trim(line).find(' '));
    if (unit.empty() || !unit.contains('.') || ++count > kMostUnits) continue;
    out += (out.empty() ? "" : ", ") + std::string(unit);
  }
  return printable(out, kTrouble);
}

asio::awaitable<std::string> cloud_init_troubles(std::filesystem::path root) {
  std::string troubles;
  const auto log = sys::read_file(root / "var/log/cloud-init.log", kLogBytes);
  if (log && log->contains("Invalid cloud-config provided")) {
    const std::string program = root / "usr/bin/cloud-init";
    const std::string said = co_await output_of(
        {"/bin/sh", "-c", "exec \"$0\" schema --system 2>&1", program}, kSchemaLimit);
    const std::string refused = parse_schema_errors(said);
    if (!refused.empty()) troubles.append(wire::kSchemaErrors).append(refused);
  }
  const std::string systemctl = root / "usr/bin/systemctl";
  if (!present(systemctl)) co_return troubles;
  const std::string said = co_await output_of(
      {systemctl, "list-units", "--state=failed", "--plain", "--no-legend", "--no-pager"},
      kUnitsLimit);
  const std::string units = parse_failed_units(said);
  if (!units.empty()) troubles.append(wire::kFailedUnits).append(units);
  co_return troubles;
}

std::string_view cloud_init_text(CloudInit::State state) {
  switch (state) {
    case CloudInit::State::absent:
      return "absent";
    case CloudInit::State::disabled:
      return "disabled";
    case CloudInit::State::running:
      return "running";
    case CloudInit::State::done:
      return "done";
    case CloudInit::State::error:
      break;
  }
  return "error";
}

CloudInit parse_cloud_init_result(std::string_view text) {
  boost::system::error_code failed;
  const json::value value = json::parse(text, failed);
  const json::value* v1 =
      !failed && value.is_object() ? value.get_object().if_contains("v1") : nullptr;
  if (v1 == nullptr || !v1->is_object()) return error("its result.json cannot be read");
  const json::object& result = v1->get_object();
  const json::value* errors = result.if_contains("errors");
  if (errors == nullptr || !errors->is_array()) return error("its result.json lists no errors");
  std::string all;
  for (const json::value& item : errors->get_array()) {
    if (!all.empty()) all += "; ";
    all += item.is_string() ? std::string(std::string_view(item.get_string())) : "(not a text)";
  }
  if (!errors->get_array().empty()) return error(printable(all, kDetail));
  const json::value* source = result.if_contains("datasource");
  const bool named = source != nullptr && source->is_string();
  return {.state = CloudInit::State::done,
          .detail = named ? printable(std::string_view(source->get_string()), kDetail) : ""};
}

CloudInit read_cloud_init(const fs::path& root) {
  if (const auto text = sys::read_file(root / "run/cloud-init/result.json", kFileBytes)) {
    CloudInit found = parse_cloud_init_result(*text);
    found.instance_id = read_instance_id(root);
    return found;
  }
  if (!present(root / "usr/bin/cloud-init")) return {.state = CloudInit::State::absent};
  if (switched_off(root)) {
    return {.state = CloudInit::State::disabled,
            .detail = "cloud-init found no datasource, or is switched off"};
  }
  return {.state = CloudInit::State::running};
}

}  // namespace pinhole::agent
