# kvtape_table(<out> FOLDER policies NAMESPACE policies TYPE PolicyInfo HEADER policies/policy.hpp)
#
# Every <folder>/<name>.cpp defines `<type> kvtape::<namespace>::<name>()`. This writes
# `std::span<const <type>> kvtape::<namespace>::all()`, which holds them in file-name order, and
# puts all sources into <out>. Files named in EXCLUDE are compiled but not listed.
function(kvtape_table out)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "FOLDER;NAMESPACE;TYPE;HEADER" "EXCLUDE")
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${arg_FOLDER}/*.cpp)
  list(SORT sources)
  foreach(source IN LISTS sources)
    cmake_path(GET source STEM name)
    if(name IN_LIST arg_EXCLUDE)
      continue()
    endif()
    string(APPEND declarations "${arg_TYPE} ${name}();\n")
    string(APPEND entries "        ${name}(),\n")
  endforeach()
  set(table ${PROJECT_BINARY_DIR}/${arg_NAMESPACE}_table.cpp)
  file(CONFIGURE OUTPUT ${table} @ONLY CONTENT [[
// Written by cmake/Table.cmake.
#include "@arg_HEADER@"

namespace kvtape::@arg_NAMESPACE@ {

@declarations@
std::span<const @arg_TYPE@> all() {
    static const @arg_TYPE@ table[] = {
@entries@    };
    return table;
}

}  // namespace kvtape::@arg_NAMESPACE@
]])
  set(${out} ${sources} ${table} PARENT_SCOPE)
endfunction()
