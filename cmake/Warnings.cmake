# Warnings of every target of ours; third-party headers come in as SYSTEM.
target_compile_options(kvtape_options INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion
    -Wold-style-cast -Wnon-virtual-dtor>)
if(KVTAPE_WARNINGS_AS_ERRORS)
  target_compile_options(kvtape_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Werror>)
endif()
