// SPDX-License-Identifier: Apache-2.0
#include "doctor/diagnosis.h"

#include <optional>

#include <boost/json.hpp>

#include "base/json.h"

namespace pinhole::doctor {
namespace {

namespace json = boost::json;

std::optional<Severity> parse_severity(std::string_view text) {
  for (const Severity severity : {Severity::ok, Severity::weaker, Severity::problem})
    if (text == to_string(severity)) return severity;
  return std::nullopt;
}

std::vector<std::string> texts_of(const json::object& object, std::string_view key) {
  std::vector<std::string> out;
  const json::value* list = object.if_contains(key);
  if (list == nullptr || !list->is_array()) return out;
  for (const json::value& text : list->get_array())
    if (text.is_string()) out.emplace_back(text.get_string());
  return out;
}

Result<Diagnosis> parse_diagnosis(const json::value& value) {
  if (!value.is_object()) return fail("a finding is no object");
  const json::object& object = value.get_object();
  const auto severity = parse_severity(text_of(object, "severity"));
  if (!severity) return fail("a finding has no severity");
  const json::value* fixable = object.if_contains("fixable");
  return Diagnosis{.name = text_of(object, "name"),
                   .severity = *severity,
                   .code = text_of(object, "code"),
                   .finding = text_of(object, "finding"),
                   .details = texts_of(object, "details"),
                   .fix = text_of(object, "fix"),
                   .fixable = fixable != nullptr && fixable->is_bool() && fixable->get_bool()};
}

json::array array_of(const std::vector<std::string>& texts) {
  json::array out;
  for (const std::string& text : texts) out.emplace_back(text);
  return out;
}

}  // namespace

std::string_view to_string(Severity severity) {
  switch (severity) {
    case Severity::ok:
      return "ok";
    case Severity::weaker:
      return "weaker";
    case Severity::problem:
      return "problem";
  }
  return "";
}

Diagnosis diagnosed(Severity severity, Error error) {
  return {.severity = severity,
          .code = std::move(error.code),
          .finding = std::move(error.message),
          .details = std::move(error.details),
          .fix = std::move(error.fix)};
}

Diagnosis fixable(Diagnosis diagnosis) {
  diagnosis.fixable = true;
  return diagnosis;
}

json::object to_json(const Diagnosis& diagnosis) {
  return {{"name", diagnosis.name},
          {"severity", to_string(diagnosis.severity)},
          {"code", diagnosis.code},
          {"finding", diagnosis.finding},
          {"details", array_of(diagnosis.details)},
          {"fix", diagnosis.fix},
          {"fixable", diagnosis.fixable}};
}

std::string print_report(const RowReport& report) {
  json::array found;
  for (const Diagnosis& diagnosis : report.found) found.emplace_back(to_json(diagnosis));
  return json::serialize(
      json::object{{"found", std::move(found)}, {"fixed", array_of(report.fixed)}});
}

Result<RowReport> parse_report(std::string_view text) {
  boost::system::error_code error;
  const json::value value = json::parse(text, error);
  if (error || !value.is_object()) return fail("it is no JSON object");
  const json::value* found = value.get_object().if_contains("found");
  if (found == nullptr || !found->is_array()) return fail("it has no findings");
  RowReport report{.fixed = texts_of(value.get_object(), "fixed")};
  for (const json::value& entry : found->get_array()) {
    PINHOLE_TRY(auto diagnosis, parse_diagnosis(entry));
    report.found.push_back(std::move(diagnosis));
  }
  return report;
}

}  // namespace pinhole::doctor
