#include "core/json.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"

namespace espalier::core {

using Json = nlohmann::json;

namespace {

const Json& node(const void* p) { return *static_cast<const Json*>(p); }

std::string describe(const Json& j) {
  switch (j.type()) {
    case Json::value_t::object:
      return "an object";
    case Json::value_t::array:
      return fmt::format("an array of {}", j.size());
    case Json::value_t::string: {
      const auto& s = j.get_ref<const std::string&>();
      return s.size() <= 40 ? j.dump()
                            : fmt::format("a string of {} characters", s.size());  // dump escapes line breaks
    }
    case Json::value_t::null:
      return "null";
    case Json::value_t::discarded:
      return "nothing";
    default:
      return j.dump();
  }
}

/// Reads an element as an integer: JSON integers, and nothing that merely looks like one (1.0, 1e3, 2^63).
std::optional<std::int64_t> integer_of(const Json& j) {
  if (j.is_number_unsigned()) {
    const auto u = j.get<std::uint64_t>();
    if (u > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) return std::nullopt;
    return static_cast<std::int64_t>(u);
  }
  if (j.is_number_integer()) return j.get<std::int64_t>();
  return std::nullopt;
}

std::string integer_range(std::int64_t low, std::int64_t high) {
  const bool has_low = low != std::numeric_limits<std::int64_t>::min();
  const bool has_high = high != std::numeric_limits<std::int64_t>::max();
  if (has_low && has_high) return fmt::format("an integer from {} to {}", low, high);
  if (has_low) return fmt::format("an integer >= {}", low);
  if (has_high) return fmt::format("an integer <= {}", high);
  return "an integer";
}

}  // namespace

struct JsonDocument::Parsed {
  std::string file;
  Json json;
};

JsonDocument::JsonDocument(std::unique_ptr<Parsed> parsed) : parsed_(std::move(parsed)) {}
JsonDocument::JsonDocument(JsonDocument&&) noexcept = default;
JsonDocument& JsonDocument::operator=(JsonDocument&&) noexcept = default;
JsonDocument::~JsonDocument() = default;

JsonDocument JsonDocument::parse(std::string_view text, std::string file, std::int64_t line) {
  auto parsed = std::make_unique<Parsed>();
  parsed->file = line > 0 ? fmt::format("{}:{}", file, line) : std::move(file);
  // Keys seen in each open object: the library would silently keep the last of two equal keys.
  std::vector<std::set<std::string>> open;
  std::string duplicate;
  const auto watch = [&](int depth, Json::parse_event_t event, Json& value) {
    if (depth > 64) throw bad_input(parsed->file, "at most 64 nested levels", "more");
    if (event == Json::parse_event_t::object_start) {
      open.emplace_back();
    } else if (event == Json::parse_event_t::object_end) {
      open.pop_back();
    } else if (event == Json::parse_event_t::key && !open.back().insert(value.get_ref<const std::string&>()).second) {
      if (duplicate.empty()) duplicate = value.get<std::string>();
    }
    return true;
  };
  try {
    parsed->json = Json::parse(text.begin(), text.end(), watch);
  } catch (const Json::exception& e) {
    std::string reason = e.what();
    if (const auto at = reason.find("] "); at != std::string::npos) reason = reason.substr(at + 2);
    std::erase_if(reason, [](char c) { return static_cast<unsigned char>(c) < 0x20; });
    throw bad_input(parsed->file, "JSON", reason.size() > 160 ? reason.substr(0, 160) : reason);
  }
  if (!duplicate.empty()) throw bad_input(parsed->file, "each key once", fmt::format("key \"{}\" twice", duplicate));
  return JsonDocument(std::move(parsed));
}

JsonView JsonDocument::root() const { return {&parsed_->json, &parsed_->file, ""}; }

std::string JsonView::where() const { return path_.empty() ? *file_ : fmt::format("{}: {}", *file_, path_); }

bool JsonView::is_null() const { return node(node_).is_null(); }
bool JsonView::is_object() const { return node(node_).is_object(); }
bool JsonView::is_array() const { return node(node_).is_array(); }
bool JsonView::is_string() const { return node(node_).is_string(); }
bool JsonView::is_number() const { return node(node_).is_number(); }

std::optional<JsonView> JsonView::find(std::string_view key) const {
  const Json& j = node(node_);
  if (!j.is_object()) throw bad_input(where(), "an object", describe(j));
  const auto it = j.find(std::string(key));
  if (it == j.end()) return std::nullopt;
  return JsonView(&*it, file_, path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key));
}

JsonView JsonView::at(std::string_view key) const {
  if (const auto member = find(key)) return *member;
  throw bad_input(where(), fmt::format("key \"{}\"", key), "none");
}

std::vector<std::string> JsonView::keys() const {
  const Json& j = node(node_);
  if (!j.is_object()) throw bad_input(where(), "an object", describe(j));
  std::vector<std::string> names;
  for (const auto& [name, unused] : j.items()) names.push_back(name);
  return names;
}

void JsonView::allow_only(std::initializer_list<std::string_view> allowed) const {
  for (const std::string& name : keys()) {
    if (name.starts_with("x_")) continue;
    if (std::find(allowed.begin(), allowed.end(), name) != allowed.end()) continue;
    std::string list;
    for (const auto a : allowed) list += (list.empty() ? "" : ", ") + std::string(a);
    throw bad_input(where(), "only the keys " + list, fmt::format("\"{}\"", name));
  }
}

void JsonView::require_schema(std::string_view schema) const {
  const std::string got = at("schema").string();
  if (got == schema) return;
  const auto name = schema.substr(0, schema.find('/'));
  const auto major = schema.substr(schema.find('/') + 1);
  const auto slash = got.find('/');
  if (slash != std::string::npos && got.substr(0, slash) == name) {
    throw bad_input(at("schema").where(), fmt::format("\"{}\" (this program reads major {})", schema, major),
                    fmt::format("\"{}\"", got));
  }
  throw bad_input(at("schema").where(), fmt::format("\"{}\"", schema), fmt::format("\"{}\"", got));
}

std::size_t JsonView::size() const {
  const Json& j = node(node_);
  if (!j.is_array()) throw bad_input(where(), "an array", describe(j));
  return j.size();
}

JsonView JsonView::at(std::size_t i) const {
  if (i >= size()) throw bad_input(where(), fmt::format("more than {} elements", i), std::to_string(size()));
  return {&node(node_)[i], file_, fmt::format("{}[{}]", path_, i)};
}

std::int64_t JsonView::integer(std::int64_t low, std::int64_t high) const {
  const auto value = integer_of(node(node_));
  if (!value || *value < low || *value > high) {
    throw bad_input(where(), integer_range(low, high), describe(node(node_)));
  }
  return *value;
}

double JsonView::number(double low, double high) const {
  const Json& j = node(node_);
  const double value = j.is_number() ? j.get<double>() : std::nan("");
  if (!std::isfinite(value) || value < low || value > high) {
    throw bad_input(where(),
                    std::isfinite(low) || std::isfinite(high) ? fmt::format("a number from {} to {}", low, high)
                                                              : std::string("a finite number"),
                    describe(j));
  }
  return value;
}

bool JsonView::boolean() const {
  if (!node(node_).is_boolean()) throw bad_input(where(), "true or false", describe(node(node_)));
  return node(node_).get<bool>();
}

std::string JsonView::string() const {
  if (!node(node_).is_string()) throw bad_input(where(), "a string", describe(node(node_)));
  return node(node_).get<std::string>();
}

std::uint64_t JsonView::hash() const {
  const std::string text = string();
  if (text.size() != 16 || text.find_first_not_of("0123456789abcdef") != std::string::npos) {
    throw bad_input(where(), "16 hex digits", "'" + text + "'");
  }
  std::uint64_t hash = 0;
  std::from_chars(text.data(), text.data() + text.size(), hash, 16);
  return hash;
}

std::vector<std::int64_t> JsonView::integers(std::int64_t low, std::int64_t high) const {
  std::vector<std::int64_t> out;
  out.reserve(size());
  for (std::size_t i = 0; i < node(node_).size(); ++i) {
    const auto value = integer_of(node(node_)[i]);
    if (!value || *value < low || *value > high) at(i).integer(low, high);  // throws with the element's path
    out.push_back(*value);
  }
  return out;
}

std::vector<std::int32_t> JsonView::integers32(std::int32_t low, std::int32_t high) const {
  const auto wide = integers(low, high);
  return {wide.begin(), wide.end()};
}

std::vector<double> JsonView::numbers() const {
  std::vector<double> out;
  for (std::size_t i = 0; i < size(); ++i) out.push_back(at(i).number());
  return out;
}

std::vector<std::string> JsonView::strings() const {
  std::vector<std::string> out;
  for (std::size_t i = 0; i < size(); ++i) out.push_back(at(i).string());
  return out;
}

std::vector<JsonLine> json_lines(std::string_view text) {
  std::vector<JsonLine> lines;
  std::int64_t number = 0;
  while (!text.empty()) {
    ++number;
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.find_first_not_of(" \t\r") != std::string_view::npos) lines.push_back({number, line});
  }
  return lines;
}

// ---------------------------------------------------------------------------------------------------------------------

void JsonWriter::separate() {
  if (after_key_) {
    after_key_ = false;
    return;
  }
  if (open_.empty()) return;
  if (!first_) text_ += ',';
  if (open_.back() == '{' && open_.size() <= 2) {
    text_ += '\n';
    text_.append(open_.size() * 2, ' ');
  } else if (open_.back() == '[' && open_.size() <= 2 && !first_) {
    text_ += ' ';
  } else if (open_.back() == '{' && !first_) {
    text_ += ' ';
  }
  first_ = false;
}

JsonWriter& JsonWriter::begin_object() {
  separate();
  text_ += '{';
  open_.push_back('{');
  first_ = true;
  return *this;
}

JsonWriter& JsonWriter::end_object() {
  ESPALIER_CHECK(!open_.empty() && open_.back() == '{' && !after_key_);
  const std::size_t depth = open_.size();
  open_.pop_back();
  if (depth <= 2 && !first_) {
    text_ += '\n';
    text_.append((depth - 1) * 2, ' ');
  }
  text_ += '}';
  first_ = false;
  return *this;
}

JsonWriter& JsonWriter::begin_array() {
  separate();
  text_ += '[';
  open_.push_back('[');
  first_ = true;
  return *this;
}

JsonWriter& JsonWriter::end_array() {
  ESPALIER_CHECK(!open_.empty() && open_.back() == '[');
  open_.pop_back();
  text_ += ']';
  first_ = false;
  return *this;
}

JsonWriter& JsonWriter::key(std::string_view key) {
  ESPALIER_CHECK(!open_.empty() && open_.back() == '{' && !after_key_);
  value(key);
  text_ += ": ";
  after_key_ = true;
  return *this;
}

JsonWriter& JsonWriter::value(std::string_view text) {
  separate();
  // The library's serialiser does the escaping; invalid UTF-8 (a file name, say) becomes U+FFFD instead of an
  // exception.
  text_ += Json(std::string(text)).dump(-1, ' ', false, Json::error_handler_t::replace);
  return *this;
}

JsonWriter& JsonWriter::value(double number) {
  if (!std::isfinite(number)) return null();
  separate();
  char buffer[40];
  const auto [end, error] = std::to_chars(std::begin(buffer), std::end(buffer), number);
  ESPALIER_CHECK(error == std::errc());
  text_.append(buffer, end);
  return *this;
}

JsonWriter& JsonWriter::value(std::int64_t number) {
  separate();
  char buffer[24];
  const auto [end, error] = std::to_chars(std::begin(buffer), std::end(buffer), number);
  ESPALIER_CHECK(error == std::errc());
  text_.append(buffer, end);
  return *this;
}

JsonWriter& JsonWriter::value(bool flag) {
  separate();
  text_ += flag ? "true" : "false";
  return *this;
}

JsonWriter& JsonWriter::null() {
  separate();
  text_ += "null";
  return *this;
}

std::string JsonWriter::finish() {
  ESPALIER_CHECK(open_.empty());
  return std::move(text_) + "\n";
}

}  // namespace espalier::core
