// JSON documents: a strict reader that names the path of whatever is wrong, and a streaming writer.
//
// The project's files are one object whose first key is `schema` = "<name>/<major>"; big arrays are columns; an unknown
// key is an error unless it begins with "x_". The parsing library stays out of this header (it costs seconds a
// translation unit); numbers are written in the shortest form that reads back to the same value, so equal data give
// equal bytes.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace espalier::core {

/// One value inside a parsed document. Cheap to copy; valid while its JsonDocument lives. Every accessor throws Error
/// (bad input) "`file`: `path`: expected …, got …".
class JsonView {
 public:
  bool is_null() const;
  bool is_object() const;
  bool is_array() const;
  bool is_string() const;
  bool is_number() const;

  /// Member of an object: required, or nothing when absent.
  JsonView at(std::string_view key) const;
  std::optional<JsonView> find(std::string_view key) const;
  std::vector<std::string> keys() const;
  /// Throws on the first key that is neither listed nor prefixed by "x_".
  void allow_only(std::initializer_list<std::string_view> keys) const;
  /// Checks key `schema` against "name/major"; a newer major or another name is an error that says so.
  void require_schema(std::string_view schema) const;

  std::size_t size() const;  ///< of an array
  JsonView at(std::size_t i) const;

  std::int64_t integer(std::int64_t low = std::numeric_limits<std::int64_t>::min(),
                       std::int64_t high = std::numeric_limits<std::int64_t>::max()) const;
  double number(double low = -std::numeric_limits<double>::infinity(),
                double high = std::numeric_limits<double>::infinity()) const;
  bool boolean() const;
  std::string string() const;
  std::uint64_t hash() const;  ///< 16 lower-case hex digits
  std::vector<std::int64_t> integers(std::int64_t low = std::numeric_limits<std::int64_t>::min(),
                                     std::int64_t high = std::numeric_limits<std::int64_t>::max()) const;
  std::vector<std::int32_t> integers32(std::int32_t low = std::numeric_limits<std::int32_t>::min(),
                                       std::int32_t high = std::numeric_limits<std::int32_t>::max()) const;
  std::vector<double> numbers() const;
  std::vector<std::string> strings() const;

  /// Where this value stands: "file: path".
  std::string where() const;

 private:
  friend class JsonDocument;
  JsonView(const void* node, const std::string* file, std::string path)
      : node_(node), file_(file), path_(std::move(path)) {}
  const void* node_;
  const std::string* file_;
  std::string path_;
};

class JsonDocument {
 public:
  /// Parses one JSON text. `file` (and `line`, for JSON lines) appear in errors. Duplicate keys and text after the
  /// value are errors.
  static JsonDocument parse(std::string_view text, std::string file, std::int64_t line = 0);
  JsonDocument(JsonDocument&&) noexcept;
  JsonDocument& operator=(JsonDocument&&) noexcept;
  ~JsonDocument();
  JsonView root() const;

 private:
  struct Parsed;
  explicit JsonDocument(std::unique_ptr<Parsed> parsed);
  std::unique_ptr<Parsed> parsed_;
};

/// Non-empty lines of a JSON-lines text with their 1-based line numbers (views into `text`).
struct JsonLine {
  std::int64_t number;
  std::string_view text;
};
std::vector<JsonLine> json_lines(std::string_view text);

/// Writes one JSON value front to back. Objects put one key a line at the top two levels, columns stay on one line.
class JsonWriter {
 public:
  JsonWriter& begin_object();
  JsonWriter& end_object();
  JsonWriter& begin_array();
  JsonWriter& end_array();
  JsonWriter& key(std::string_view key);
  JsonWriter& value(std::string_view text);
  JsonWriter& value(const char* text) { return value(std::string_view(text)); }
  JsonWriter& value(const std::string& text) { return value(std::string_view(text)); }
  JsonWriter& value(double number);  ///< null when not finite
  JsonWriter& value(std::int64_t number);
  JsonWriter& value(std::int32_t number) { return value(static_cast<std::int64_t>(number)); }
  JsonWriter& value(bool flag);
  JsonWriter& null();
  template <class T>
  JsonWriter& column(const std::vector<T>& rows) {
    begin_array();
    for (const T& row : rows) value(row);
    return end_array();
  }
  /// key + value, key + column.
  template <class T>
  JsonWriter& field(std::string_view name, const T& v) {
    return key(name).value(v);
  }
  template <class T>
  JsonWriter& field(std::string_view name, const std::vector<T>& rows) {
    return key(name).column(rows);
  }
  /// The text, ended by a newline. The value must be complete.
  std::string finish();

 private:
  void separate();
  std::string text_;
  std::vector<char> open_;  ///< '{' or '[' of each open level
  bool first_ = true;       ///< nothing written yet at this level
  bool after_key_ = false;
};

}  // namespace espalier::core
