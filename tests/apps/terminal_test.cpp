#include "apps/terminal.h"

#include <gtest/gtest.h>

namespace espalier::apps {
namespace {

TEST(Table, AlignsColumnsAndMarksRows) {
  Table table({"name", "time"}, {Align::left, Align::right});
  table.row({"a", "1.00 us"});
  table.row({"longer", "12.0 us"});
  EXPECT_EQ(table.finish({1}),
            "  name       time\n"
            "  a       1.00 us\n"
            "* longer  12.0 us\n");
}

TEST(Table, CountsCharactersNotBytes) {
  Table table({"x", "y"}, {Align::left, Align::left});
  table.row({"µs", "1"});
  table.row({"ab", "2"});
  EXPECT_EQ(table.finish(), "  x   y\n  µs  1\n  ab  2\n");
}

}  // namespace
}  // namespace espalier::apps
