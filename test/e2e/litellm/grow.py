"""For tests: adds a deployment to the running proxy's router, as its admin does, when a call's `user` says so."""

from litellm.integrations.custom_logger import CustomLogger
from litellm.types.router import Deployment, LiteLLM_Params


class Grow(CustomLogger):
    async def async_pre_call_hook(self, user_api_key_dict, cache, data, call_type):
        words = str(data.get("user") or "").split()
        if len(words) == 3 and words[0] == "grow":
            from litellm.proxy.proxy_server import llm_router

            params = LiteLLM_Params(model="hosted_vllm/llama-2-7b", api_base=words[2] + "/v1", api_key="none")
            llm_router.add_deployment(Deployment(model_name=words[1], litellm_params=params))
        return data


handler = Grow()
