// Text for people: names, numbers with units, the nearest name to a misspelt one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace espalier::core {

std::vector<std::string> split(std::string_view text, char separator);
/// One word for a POSIX shell, whatever is in it: in single quotes unless it is plain.
std::string shell_quoted(std::string_view text);
std::string join(const std::vector<std::string>& parts, std::string_view separator);

/// Whole-string integer or number; nothing on trailing rubbish, overflow, nan or inf. A number may begin with a plus
/// sign.
std::optional<std::int64_t> parse_integer(std::string_view text);
std::optional<double> parse_number(std::string_view text);

/// Binary prefix, three significant digits: "1.50 MiB".
std::string bytes_text(std::int64_t bytes);
/// "812 ns", "12.3 us", "4.56 ms".
std::string time_text(double microseconds);
/// "12 031", "1.70 M" style counts are not used: plain digits below 10^5, then "123 k", "4.56 M".
std::string count_text(std::int64_t count);

/// "1 root", "2 roots".
std::string counted(std::int64_t count, std::string_view noun);

/// The candidate nearest to `name` by edit distance, if near enough to be a misspelling.
std::optional<std::string> nearest_name(std::string_view name, const std::vector<std::string>& candidates);
/// "unknown `kind` 'name'; did you mean 'x'?" or a list of all names when none is near.
std::string unknown_name(std::string_view kind, std::string_view name, const std::vector<std::string>& candidates);

}  // namespace espalier::core
